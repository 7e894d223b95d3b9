"""What can be refused before a cluster is touched?

Every mistake that can be seen from the driver: no sources, a path that matches nothing, an empty corpus, a store that
cannot be written or was made otherwise, a window planned with other sources, another tokenizer, a model that the
run's checkpoints do not fit, a run that is live, a package that is missing. Each is one sentence; all that are
found are said together.
"""

import os
from collections.abc import Callable
from contextlib import suppress
from importlib.util import find_spec

from cluster.storage.store import Store
from cluster.telemetry.mlflow_registry import SERVERS
from data_ops.ingest.takeover import misfit, refusal
from data_ops.lake.lake import Lake
from data_ops.mixing.versions import newest
from data_ops.sources.first_look import first_look
from data_ops.sources.kinds import open_source
from models.config import Objective
from models.kinds.kinds import model_config
from ray_jobs.checkpoints import manifest as commits
from ray_jobs.checkpoints.champion import read_champion
from ray_jobs.config.schema import Config
from ray_jobs.evaluation.tasks.lm_eval import LmEval
from ray_jobs.evaluation.tasks.tasks import further_tasks
from ray_jobs.ingest.opening import check_store, refuse_other_tokenizer
from ray_jobs.ingest.settings import ingest_settings
from ray_jobs.origin.change import refuse_changed
from ray_jobs.origin.place import place_of, size_bytes
from ray_jobs.origin.record import read_origin
from ray_jobs.outcome import ConfigError
from ray_jobs.store.access import at_work
from ray_jobs.store.frozen import read_frozen, read_tokenizer
from ray_jobs.store.lease import holder
from ray_jobs.store.paths import TOKENIZER, fed_path


def check_run(config: Config, *, follow: bool, drives: bool = True, judged: bool = False) -> list[str]:
    """Return one line a source with a record as it will be read. Raises ConfigError with every mistake found.

    drives=False for a command that does not train the run. judged: will the gate be asked? Then the champion pointer
    must be readable.
    """
    samples: list[str] = []
    checks: list[Callable[[], None]] = [
        lambda: samples.extend(check_sources(config, follow=follow)),
        lambda: check_writable(config),
        lambda: check_open_window(config),
        lambda: check_tasks(config),
        lambda: check_mixture(config),
    ]
    if drives:
        checks += [lambda: check_live(config), lambda: check_packages(config), lambda: check_origin(config)]
    if judged:
        checks.append(lambda: check_champion(config))
    mistakes = []
    for check in checks:
        try:
            check()
        except (ValueError, OSError, ImportError, commits.FormatError) as error:
            mistakes.append(str(error))
    if mistakes:
        raise ConfigError("\n".join(mistakes))
    return samples


def check_sources(config: Config, *, follow: bool) -> list[str]:
    """Every source must have something to read, unless it may wait for it, and the fields that it is asked for.

    Returns a line a source with a record as it will be read.
    """
    if not config.sources:
        raise ConfigError("sources is empty; name at least one, for example sources.mine.path='texts/*.jsonl'")
    sources = [open_source(label, source) for label, source in config.sources.items()]
    if missing := [sentence for source in sources if (sentence := source.missing())]:
        raise ConfigError("\n".join(missing))
    looks = {label: first_look(label, source) for label, source in config.sources.items()}
    if problems := [look.problem for look in looks.values() if look.problem]:
        raise ConfigError("\n".join(problems))
    samples = [f"source {label}  {look.sample}" for label, look in looks.items() if look.sample]
    if follow or any(source.waits for source in config.sources.values()):
        return samples
    if not samples and all(found.drained and not found.spans for found in (s.discover({}, 1) for s in sources)):
        raise ConfigError(
            f"sources {', '.join(sorted(config.sources))} hold no record; add documents, or wait for them with --follow"
        )
    return samples


def check_writable(config: Config) -> None:
    """The store must take writes and have been made with the same frozen settings; checkpoints must fit the model."""
    store = Store.open(config.store)
    store.check_writable()
    check_store(store, config)
    last = commits.newest_readable(store, config.name)
    if last is None:
        return
    if store.exists(TOKENIZER):
        refuse_other_tokenizer(store, last, read_tokenizer(store))
    made = {f"model.{key}": value for key, value in model_config(last.state.model).model_dump(mode="json").items()}
    made["engine.batch_tokens"] = last.state.batch_tokens
    mine = {f"model.{key}": value for key, value in config.model.model_dump(mode="json").items()}
    mine["engine.batch_tokens"] = config.engine.batch_tokens
    for key in mine:
        if key not in ("model.recompute", "model.from") and made.get(key) != mine[key]:
            raise ConfigError(
                f"{key}={mine[key]} differs from {made.get(key)}, with which run {config.name} was trained; "
                "set it back, or use another name for a new run"
            )
    refuse_other_optimizer(config, last)


def refuse_other_optimizer(config: Config, last: commits.Commit) -> None:
    """A checkpoint holds the states of one optimizer, with which alone a run goes on exactly."""
    if (made := last.state.optimizer) != config.optim.kind:
        raise ConfigError(
            f"optim.kind={config.optim.kind} differs from {made}, whose states checkpoint {last.name} holds; set it "
            f"back, or begin another run with its weights: name=... model.from={last.name}"
        )


def check_origin(config: Config) -> None:
    """The weights that the run begins with must be those it began with, and have room in the store."""
    store, start = Store.open(config.store), config.model.start
    try:
        origin = read_origin(store, config.name)
    except NotADirectoryError:  # the store itself is a file: `check_writable` says so
        return
    if origin is not None:
        refuse_changed(store, config, origin)
        return
    if start is None:
        return
    if commits.commits(store, config.name):
        raise ConfigError(
            f"model.from={start}, and run {config.name} began with random weights; leave it out, or use another name "
            "for a new run"
        )
    needed, free = size_bytes(place_of(start, store)), store.free_bytes()
    if free is not None and free < needed:
        raise ConfigError(
            f"the weights of model.from={start} take {needed / 1e9:.1f} GB in {config.store}, which has "
            f"{free / 1e9:.1f} GB free; free space, or use another store"
        )


def check_tasks(config: Config) -> None:
    """Every further task of evaluation must exist, take its settings, and have what it needs."""
    for name, task in further_tasks(config.evaluate).items():
        task.check()
        if isinstance(task, LmEval) and config.model.learns != Objective.CAUSAL:
            raise ValueError(
                f"evaluate.tasks names {name}, which asks what follows, and model.kind={config.model.kind} fills "
                "masks; leave it out"
            )


def check_mixture(config: Config) -> None:
    """A run that has a mixture, also one that `headrace mix` gave it, cannot shed by backlog."""
    with suppress(NotADirectoryError):  # the store itself is a file: `check_writable` says so
        if config.round.max_backlog_tokens is not None and newest(Store.open(config.store), config.name) is not None:
            raise ConfigError(
                f"round.max_backlog_tokens={config.round.max_backlog_tokens} cannot be had beside a mixture, which run "
                f"{config.name} has (headrace mix show); leave it out, or use another name for a new run"
            )


def check_open_window(config: Config) -> None:
    """A window that was planned with other sources must have somebody at work who finishes it."""
    store = Store.open(config.store)
    lake = Lake(store)
    _, planned = lake.windows(lake.last_window() + 1)
    if planned is None:
        return
    settings = ingest_settings(config, read_frozen(store))
    found = misfit(planned, settings)
    if found and (planned.owner in ("", config.name) or not at_work(store, planned.owner)):
        raise refusal(planned, found, settings)


def check_packages(config: Config) -> None:
    """What a setting needs beyond the dependencies must be installed."""
    if config.model.lora is not None and find_spec("peft") is None:
        raise ConfigError(
            "model.lora needs peft, which is not installed; pip install 'headrace[lora]', or leave it out"
        )
    if config.telemetry.tensorboard and find_spec("tensorboardX") is None:
        raise ConfigError(
            "telemetry.tensorboard=true needs tensorboardX, which is not installed; "
            "pip install 'headrace[tensorboard]', or set it to false"
        )
    if config.telemetry.mlflow is not None:
        if find_spec("mlflow") is None:
            raise ConfigError(
                f"telemetry.mlflow={config.telemetry.mlflow} needs mlflow-skinny, which is not installed; "
                "pip install 'headrace[mlflow]', or leave it out"
            )
        if not any(map(os.environ.get, SERVERS)):
            raise ConfigError(
                f"telemetry.mlflow={config.telemetry.mlflow} names a registered model, and no server is known; "
                "set MLFLOW_TRACKING_URI, for example to http://localhost:5000, or leave it out"
            )


def check_champion(config: Config) -> None:
    """What a candidate will be compared with must be known."""
    with suppress(NotADirectoryError):  # the store itself is a file: `check_writable` says so
        read_champion(Store.open(config.store))


def check_live(config: Config) -> None:
    """No loop of the user's may own the run, and no process of this host may drive it.

    Whether a process elsewhere still lives, only `acquire` waits to see.
    """
    store = Store.open(config.store)
    if store.exists(fed_path(config.name)):
        raise ConfigError(
            f"run {config.name} feeds a training loop of your own (docs/feed.md); use another name for a run of ours"
        )
    found = holder(store, config.name)
    if found is not None and found.is_local:
        raise ConfigError(
            f"run {config.name} is being driven by process {found.pid} on {found.host.partition(':')[0]}; "
            "wait for it, stop it, or choose another name"
        )
