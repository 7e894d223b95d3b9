"""What does a run take over from a W&B sweep agent that started it?

Its parameters, as the agent wrote them to the file in WANDB_SWEEP_PARAM_PATH, and its id, which becomes part of the
run's name: every trial is a run of its own over the text of one store. The file and not the command line decides,
because W&B shows what is in the file, and because `--key=value` has lost the types (`10` may have been a text).
"""

from collections.abc import Iterable, Mapping
from pathlib import Path

from cluster.telemetry.wandb_run import SWEEP
from cluster.yaml_text import load_yaml
from ray_jobs.config.reading import parse_override, read_config
from ray_jobs.config.schema import Config
from ray_jobs.outcome import ConfigError

RUN, PARAMETERS = "WANDB_RUN_ID", "WANDB_SWEEP_PARAM_PATH"


def agent_config(files: Iterable[str], arguments: Iterable[str], environ: Mapping[str, str]) -> Config:
    """Read the configuration of a run; under a sweep agent with the trial's parameters and a name of its own.

    ConfigError, besides what `read_config` finds, if the command line contradicts a parameter of the sweep.
    """
    files, arguments = list(files), list(arguments)
    if not environ.get(SWEEP):
        return read_config(files, arguments)
    if not environ.get(RUN):
        raise ConfigError(f"{SWEEP} is set and {RUN} is not; let `wandb agent` start this, or unset {SWEEP}")
    values = parameters(environ)
    overrides = [text for text in arguments if not _said_twice(text, values)]
    overrides += [f"{key}={value!r}" for key, value in values.items()]
    name = read_config(files, overrides).name
    return read_config(files, [*overrides, f"name={name + '-' + environ[RUN]!r}"])


def parameters(environ: Mapping[str, str]) -> dict[str, object]:
    """The parameters of this trial: dotted keys, or blocks where the sweep nests them."""
    path = environ.get(PARAMETERS)
    if not path:
        return {}
    try:
        found = load_yaml(Path(path).read_text(encoding="utf-8")) or {}
        if not isinstance(found, dict):
            raise ValueError(f"it holds {type(found).__name__}, not keys and values")
        return {key: held["value"] for key, held in found.items() if key != "wandb_version"}
    except (OSError, ValueError, TypeError, KeyError) as error:
        said = " ".join(str(error).split())
        raise ConfigError(f"{PARAMETERS}={path} cannot be read as a sweep's parameters ({said})") from None


def _said_twice(argument: str, values: Mapping[str, object]) -> bool:
    """Does an argument repeat a parameter of the sweep? ConfigError if it says something else."""
    key, _, raw = argument.lstrip("-").partition("=")
    if key not in values:
        return False
    if raw != str(values[key]) and parse_override(argument)[1] != values[key]:
        raise ConfigError(
            f"{key}={raw} in the command differs from {values[key]!r}, which the sweep chose and W&B shows; "
            f"take {key} out of the sweep's command or out of its parameters"
        )
    return True
