"""What does `headrace run` do, from the first check to the report?

    check -> lease -> Ray -> ingest and train side by side -> judge -> promote -> account -> summary and report

The driver decides nothing about data: it starts things, listens (`ray_jobs.driver.loop`), and writes down. Killed at
any point, the same command goes on from the last committed checkpoint.
"""

import threading
from importlib import import_module

from cluster.redaction import redact
from cluster.runtime.session import connect
from cluster.storage.state import write_json
from cluster.storage.store import Store
from ray_jobs.checkpoints.retention import sweep_orphans
from ray_jobs.config.blocks import JudgeConfig
from ray_jobs.config.schema import Config
from ray_jobs.driver.signals import stop_on_signal
from ray_jobs.outcome import ConfigError, Outcome, causes_told
from ray_jobs.report.terminal import Display
from ray_jobs.store.access import refuse_while_forgetting
from ray_jobs.store.lease import Heart, RunIsLiveError, acquire
from ray_jobs.store.paths import run_path

HEAVY = ("torch", "pandas", "numba")  # what `ray_jobs.driver.loop` brings and Ray itself does not
PRELOAD = ("ray_jobs.driver.preload",)
ADAPTERS = ("peft",)  # where adapters are trained: 3 s a worker


def run(config: Config, display: Display, *, follow: bool = False, judged: bool = True) -> Outcome:
    """Run the whole loop until the sources are drained, for ever with follow, or until stopped.

    The configuration was checked (`preflight.check_run`). judged=False only trains: nothing is judged or promoted.
    Raises ConfigError, before a cluster is touched, if another driver was faster.
    """
    store = Store.open(config.store)
    if not judged:
        config = config.model_copy(update={"judge": JudgeConfig()})
    try:
        lease = acquire(store, config.name)
    except RunIsLiveError as error:
        raise ConfigError(str(error)) from None
    heart = Heart(store, lease)
    try:
        refuse_while_forgetting(store)
        store.sweep_asides(run_path(config.name))  # as a half-written file of a round holds text
        public = redact(config.model_dump(mode="json"))
        write_json(store, run_path(config.name, "config.json"), public)
        threading.Thread(target=_load, daemon=True, name="load").start()  # seconds, in which Ray starts
        connected = connect(config.cluster, metrics=config.telemetry.prometheus, preload=preloaded(config))
        with stop_on_signal() as stopped, connected as session:  # behind `connect`: Ray sets handlers of its own
            from ray_jobs.driver.beginning import begin
            from ray_jobs.driver.loop import Drive, drive
            from ray_jobs.ingest.opening import open_store
            from ray_jobs.training.group.training import Training

            sweep_orphans(store, lease)
            opened = open_store(config, stopped.is_set, follow=follow)
            for warning in (*opened.warnings, *filter(None, [config.model.remark])):
                display.note(warning)
            base = begin(store, config, opened.tokenizer, judged=judged)
            training = Training(config, opened, lease, session, base=base, follow=follow)
            with causes_told("run"):
                return drive(Drive(config, opened, training, heart, stopped, display), judged=judged)
    finally:
        heart.release()


def preloaded(config: Config) -> tuple[str, ...]:
    """Modules that workers of a local Ray find in memory when they are forked."""
    return PRELOAD + ADAPTERS * (config.model.lora is not None)


def _load() -> None:
    """Import what takes long. Nothing of Ray's or ours: two threads in one circle of imports see half a module."""
    for name in HEAVY:
        import_module(name)
