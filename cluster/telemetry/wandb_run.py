"""How does a run show up in Weights & Biases without W&B ever stopping it?

One `wandb.init` with a stable id, so a resumed run goes on in the same chart. "auto" is online if a key is
at hand, else offline in the run's folder (`wandb sync` uploads it later). A failure is told once and then
W&B is left alone; secrets and command lines never leave the machine. Weights stay where they are: a champion
is an artifact that refers to them. A stop that is asked for in W&B is handed to the driver, who commits first.
"""

import hashlib
import json
import logging
import netrc
import os
import platform
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from cluster.redaction import redact
from cluster.storage.uri import expanded_path
from cluster.telemetry.config import Mode, WandbConfig

if TYPE_CHECKING:
    import wandb

logger = logging.getLogger(__name__)
SWEEP = "WANDB_SWEEP_ID"  # set by `wandb agent` for what it starts
RAY_JOB = "RAY_JOB_CONFIG_JSON_ENV_VAR"  # set by Ray for what a job runs
SERVICE = "WANDB_SERVICE"  # how W&B finds a process of its own that is there already
PACKAGES = ("headrace", "ray", "torch", "deepspeed", "pyarrow", "deltalake", "numpy", "wandb")


@dataclass(frozen=True)
class Champion:
    """A checkpoint that a run put in service, and what it comes from."""

    checkpoint: str  # run/step
    previous: str | None  # the champion before it
    store: str
    files: tuple[str, ...]  # where its weights are: paths, s3://... or gs://...
    facts: Mapping[str, object] = field(default_factory=dict)  # a few plain values; W&B takes at most 100
    lineage: Mapping[str, object] = field(default_factory=dict)  # everything, as JSON


class WandbRun:
    """A sink that logs to W&B until W&B fails, and then no more."""

    def __init__(self, run: "wandb.Run | None") -> None:
        self._run = run
        self._step, self._newest, self._concluded = 0, dict[str, float](), False

    def log(self, event: Mapping[str, object]) -> None:
        """Log the numbers of an event; charts are drawn over `step`, which a resume may repeat."""
        numbers = {name: value for name, value in event.items() if isinstance(value, int | float)}
        step = int(numbers.get("step", self._step))
        if step >= self._step:  # the untrained model is judged last, as step 0
            self._step = step
            self._newest |= numbers
        self._try(lambda run: run.log(numbers))

    def promoted(self, champion: Champion) -> None:
        """Log a new champion as an artifact."""
        self._try(lambda run: log_champion(run, champion))

    def conclude(self, summary: Mapping[str, object]) -> None:
        """Write the run's last words: the newest figures and those of summary.json."""
        self._concluded = True
        self._try(lambda run: run.summary.update({**self._newest, **dotted(summary)}))

    def close(self) -> None:
        """Finish the run; W&B shows one that had no last words as failed."""
        self._try(lambda run: run.finish(exit_code=int(not self._concluded)))

    def _try(self, act: Callable[["wandb.Run"], object]) -> None:
        if self._run is None:
            return
        try:
            act(self._run)
        except Exception as error:  # noqa: BLE001 - whatever it is, a run does not end for its charts
            logger.warning("W&B failed and is left alone from now on: %s", error)
            self._run = None


def open_wandb(
    config: WandbConfig,
    run_id: str,
    name: str,
    settings: Mapping[str, object],
    folder: Path | None = None,
    on_stop: Callable[[], object] | None = None,
) -> WandbRun | None:
    """Start or continue a W&B run; None if W&B is disabled or cannot start.

    run_id: stable over restarts; a sweep agent's WANDB_RUN_ID comes before it. settings: the run's configuration,
    logged without secrets under dotted keys, as a sweep names them. folder: where an offline run is kept; absent: the
    temporary folder of this machine. on_stop: called in a thread when somebody stops the run in W&B.
    """
    mode = choose_mode(config)
    if mode == "disabled":
        return None
    import wandb

    place = Path(os.environ.get("WANDB_DIR", folder or Path(tempfile.gettempdir()) / "headrace-wandb"))
    try:
        place.mkdir(parents=True, exist_ok=True)
        _start_apart(config.timeout)
        run = wandb.init(
            id=os.environ.get("WANDB_RUN_ID", run_id),
            name=name,
            mode=mode,
            resume="allow" if mode == "online" else None,
            project=config.project or os.environ.get("WANDB_PROJECT", "headrace"),
            entity=config.entity,
            group=config.group,
            tags=config.tags or None,
            dir=str(place),
            config=dotted(redact(settings)),
            settings=wandb.Settings(**_settings(config.timeout, on_stop)),
        )
        run.define_metric("*", step_metric="step")
    except Exception as error:  # noqa: BLE001 - whatever it is, a run does not end for its charts
        logger.warning("W&B does not start, the run goes on without it: %s", error)
        return None
    return WandbRun(run)


def _settings(timeout: float, on_stop: Callable[[], object] | None) -> dict[str, object]:
    """Nothing of this machine or its code leaves it but the metrics."""

    def stop() -> None:  # W&B copies it deeply: a bound method would bring its object, which may not be copied
        if on_stop is not None:
            on_stop()

    return {
        "silent": True,
        "console": "off",
        "disable_git": True,
        "disable_code": True,
        "save_code": False,
        "x_disable_meta": True,
        "x_stats_sampling_interval": 30,
        "init_timeout": timeout,
        "finish_timeout": timeout,
        "stop_fn": stop if on_stop is not None else None,
    }


def _start_apart(timeout_s: float) -> None:
    """Start W&B's own process as a child of nobody, for a driver that is a Ray job.

    `ray job stop` sends SIGTERM to the driver and to all that it has started, while the driver commits and has last
    words for W&B. W&B calls this `wandb beta core start`; the process ends by itself when nobody is connected.
    """
    if RAY_JOB not in os.environ or SERVICE in os.environ:
        return
    command = [sys.executable, "-P", "-m", "wandb", "beta", "core", "start", "--idle-timeout", "60s"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=timeout_s)
    if done.returncode == 0:
        os.environ[SERVICE] = done.stdout.strip()
    else:
        logger.info("W&B's process is a child of the driver, and ends with `ray job stop`: %s", done.stderr[-200:])


def log_champion(run: "wandb.Run", champion: Champion) -> None:
    """Log a champion as an artifact: its lineage as a file, its weights as references, its predecessor as an input.

    The predecessor is an input only online and if it was logged; its name is in the lineage in any case.
    """
    import wandb

    name = artifact_name(champion.store)
    artifact = wandb.Artifact(
        name, "model", f"champion {champion.checkpoint} of {champion.store}", dict(champion.facts)
    )
    written = (
        Path(run.settings.sync_dir) / f"{alias(champion.checkpoint)}.json"
    )  # W&B would put it into the home folder
    written.write_text(json.dumps(champion.lineage, indent=1), encoding="utf-8")
    artifact.add_file(str(written), "lineage.json", policy="immutable")
    try:
        for uri in champion.files:
            artifact.add_reference(uri if "://" in uri else Path(uri).as_uri(), checksum=False)
    except Exception as error:  # noqa: BLE001 - without boto3, for example; lineage.json has every place and checksum
        logger.warning("the W&B artifact of %s does not refer to its weights: %s", champion.checkpoint, error)
    if champion.previous is not None and not run.settings._offline:
        try:
            run.use_artifact(f"{name}:{alias(champion.previous)}")
        except Exception as error:  # noqa: BLE001 - not logged, or deleted since
            logger.warning("W&B does not know the champion before, %s: %s", champion.previous, error)
    run.log_artifact(artifact, aliases=["champion", alias(champion.checkpoint)])


def artifact_name(store: str) -> str:
    """Name of a store's champions in W&B: the store's last folder, and a mark that tells stores of one name apart.

    >>> artifact_name("s3://acme/lake")
    'lake-98d9bf-champion'
    """
    last = alias(store.rstrip("/").rpartition("/")[2]) or "store"
    return f"{last}-{hashlib.sha256(store.encode()).hexdigest()[:6]}-champion"


def alias(checkpoint: str) -> str:
    """A checkpoint's name as W&B takes it: no slash, no colon, no @.

    >>> alias("news@00000120/00000132")
    'news-00000120-00000132'
    """
    return re.sub(r"[^A-Za-z0-9._-]+", "-", checkpoint)


def machine(nodes: Iterable[tuple[float, float]]) -> dict[str, object]:
    """What a run runs on: versions, this driver's machine, and the cluster's nodes, each as (CPUs, GPUs)."""
    nodes = list(nodes)
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "driver_cpus": os.cpu_count(),
        "driver_memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "nodes": len(nodes),
        "cpus": sum(cpus for cpus, _ in nodes),
        "gpus": sum(gpus for _, gpus in nodes),
        "packages": {name: _version(name) for name in PACKAGES},
    }


def dotted(values: Mapping[str, object], prefix: str = "") -> dict[str, object]:
    """Nested values under the keys that overrides have.

    >>> dotted({"name": "a", "optim": {"lr": 0.1, "betas": [0.9, 0.95]}})
    {'name': 'a', 'optim.lr': 0.1, 'optim.betas': [0.9, 0.95]}
    """
    found: dict[str, object] = {}
    for key, value in values.items():
        found |= dotted(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {f"{prefix}{key}": value}
    return found


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def choose_mode(config: WandbConfig) -> Mode:
    """Return what "auto" means here: WANDB_MODE, else online if there is a key, else offline."""
    asked = os.environ.get("WANDB_MODE", "auto") if config.mode == "auto" else config.mode
    if asked in ("online", "offline", "disabled"):
        return asked  # type: ignore[return-value]  # narrowed by the tuple above
    return "online" if has_key() else "offline"


def has_key() -> bool:
    """Tell whether a W&B key is in WANDB_API_KEY or netrc; its value is not looked at."""
    if os.environ.get("WANDB_API_KEY"):
        return True
    host = urlsplit(os.environ.get("WANDB_BASE_URL", "https://api.wandb.ai")).hostname or ""
    files = [os.environ["NETRC"]] if "NETRC" in os.environ else ["~/.netrc", "~/_netrc"]
    for file in files:
        try:
            if netrc.netrc(expanded_path(file)).authenticators(host):
                return True
        except (OSError, netrc.NetrcParseError):
            continue
    return False
