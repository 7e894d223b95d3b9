"""How did a command that drives a cluster end?"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

OK, FAILED, STOPPED = 0, 1, 143


@dataclass(frozen=True)
class Outcome:
    """Its exit code, and what its summary holds."""

    code: int
    summary: Mapping[str, object] = field(default_factory=dict)


class ConfigError(ValueError):
    """The user's configuration is wrong; the message holds one sentence per mistake."""


class ClusterLostError(RuntimeError):
    """Ray is gone, not the run: try again (exit code 75)."""


@contextmanager
def causes_told(of: str) -> Iterator[None]:
    """Tell a call of ours that failed (RuntimeError) from a cluster that is gone (ClusterLostError)."""
    from ray.exceptions import RayError, RayTaskError

    try:
        yield
    except RayTaskError as error:
        raise RuntimeError(f"a part of the {of} failed: {last_line(error)}") from error
    except RayError as error:  # ours restart for ever: only a cluster that is gone ends them
        said = str(error).strip().splitlines()[-1]
        raise ClusterLostError(f"the Ray cluster was lost ({said}); the same command goes on") from error


def last_line(error: BaseException) -> str:
    """The sentence that matters in a remote traceback."""
    cause = getattr(error, "cause", None) or error
    lines = [line.strip() for line in str(cause).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__
