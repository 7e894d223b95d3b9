"""How does a run show up in Weights & Biases without W&B ever stopping it?

One `wandb.init` with a stable id, so a resumed run goes on in the same chart. "auto" is online if a key is
at hand, else offline in the run's folder (`wandb sync` uploads it later). A failure is told once and then
W&B is left alone; secrets and command lines never leave the machine.
"""

import logging
import netrc
import os
import re
import tempfile
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

from pydantic import Field

from cluster.units import Duration, Settings

logger = logging.getLogger(__name__)

Mode = Literal["online", "offline", "disabled"]
SECRET = re.compile(r"(^|[._-])(token|secret|password|passwd|api_?key|\w*access_?key|private_?key|credentials?)$", re.I)
LOGIN_IN_URL = re.compile(r"(\w+://)[^/@\s]+@")


class WandbConfig(Settings):
    """Weights & Biases; every absent value falls back to its WANDB_* variable."""

    mode: Literal["auto", "online", "offline", "disabled"] = Field(
        "auto",
        description="auto: WANDB_MODE, else online if a key is in WANDB_API_KEY or netrc, else offline.",
    )
    project: str | None = Field(None, description="Project; absent: WANDB_PROJECT or headrace.")
    entity: str | None = Field(None, description="Team or user; absent: WANDB_ENTITY.")
    group: str | None = Field(None, description="Group of runs; absent: WANDB_RUN_GROUP.")
    tags: tuple[str, ...] = Field((), description="Tags of the run.")
    timeout: Duration = Field(30.0, gt=0, description="Seconds to wait for the server at the start.")


class WandbRun:
    """A sink that logs to W&B until W&B fails, and then no more."""

    def __init__(self, run: Any, errors: tuple[type[BaseException], ...]) -> None:
        self._run, self._errors = run, errors

    def log(self, event: dict[str, Any]) -> None:
        """Log the numbers of an event; charts are drawn over `step`, which a resume may repeat."""
        if self._run is None:
            return
        numbers = {name: value for name, value in event.items() if isinstance(value, int | float)}
        try:
            self._run.log(numbers)
        except self._errors as error:
            logger.warning("W&B failed and is left alone from now on: %s", error)
            self._run = None

    def close(self) -> None:
        """Finish the run."""
        if self._run is None:
            return
        try:
            self._run.finish()
        except self._errors as error:
            logger.warning("W&B could not finish: %s", error)


def open_wandb(
    config: WandbConfig, run_id: str, name: str, settings: dict[str, Any], folder: Path | None = None
) -> WandbRun | None:
    """Start or continue a W&B run; None if W&B is disabled or cannot start.

    run_id: stable over restarts. settings: the run's configuration, logged without secrets. folder: where an
    offline run is kept; absent: the temporary folder of this machine.
    """
    mode = choose_mode(config)
    if mode == "disabled":
        return None
    import wandb

    errors = (wandb.Error, OSError, RuntimeError)
    place = folder or Path(tempfile.gettempdir()) / "headrace-wandb"
    place = Path(os.environ.get("WANDB_DIR", place))
    try:
        place.mkdir(parents=True, exist_ok=True)
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
            config=redact(settings),
            settings=wandb.Settings(
                silent=True,
                console="off",
                disable_git=True,
                disable_code=True,
                save_code=False,
                x_disable_meta=True,
                x_stats_sampling_interval=30,
                init_timeout=config.timeout,
            ),
        )
        run.define_metric("*", step_metric="step")
    except errors as error:
        logger.warning("W&B does not start, the run goes on without it: %s", error)
        return None
    return WandbRun(run, errors)


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
            if netrc.netrc(Path(file).expanduser()).authenticators(host):
                return True
        except (OSError, netrc.NetrcParseError):
            continue
    return False


def redact(value: Any, key: str = "") -> Any:
    """Return a configuration with every secret replaced by ***: by the name of its key, and logins in URLs.

    >>> redact({"hf_token": "abc", "row_tokens": 256, "url": "kafka://me:pw@host"})
    {'hf_token': '***', 'row_tokens': 256, 'url': 'kafka://***@host'}
    """
    if isinstance(value, dict):
        return {name: redact(inner, str(name)) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [redact(inner, key) for inner in value]
    if isinstance(value, str):
        return "***" if SECRET.search(key) else LOGIN_IN_URL.sub(r"\1***@", value)
    return value
