"""May an ingest finish a window that another one, or another configuration, has planned?

Only if it reads the planned spans as they would have been read then: their source is configured under the same label,
alike in all that decides what is read, and names their files. Else their records would be quarantined, or misread, and
count as taken in for ever. Who may not leaves the window to its owner, or is refused and told what to do.
"""

import time
from collections.abc import Mapping
from typing import NamedTuple

from pydantic import TypeAdapter

from data_ops.ingest.config import IngestSettings
from data_ops.ingest.context import IngestContext
from data_ops.lake.window import Window
from data_ops.sources.kinds import ConfiguredSource, open_source
from data_ops.sources.protocol import SourceConfig

POLL_SECONDS = 0.2
PLANNED: TypeAdapter[SourceConfig] = TypeAdapter(ConfiguredSource)


class OpenPlanError(ValueError):
    """A planned window cannot be finished with this configuration, and nobody who could is at work."""


class Misfit(NamedTuple):
    """How a plan and a configuration differ, and what would mend it, as parts of sentences."""

    what: str
    mend: str
    otherwise: str = "have it read as configured here"


def take_over(context: IngestContext) -> Window | None:
    """Catch up, and return the open window once it may be finished here; None if there is none, or stopped.

    A window planned under another source configuration is left to its owner while the owner is alive; OpenPlanError
    once it is not.
    """
    settings = context.settings
    left_open = -1  # the window that was open when its owner was no longer at work
    while (planned := context.progress.catch_up(context.lake)) and not context.stop():
        found = misfit(planned, settings)
        if found is None:
            return planned
        if planned.owner not in ("", settings.owner) and context.is_alive(planned.owner):
            context.warn(
                f"windows planned by {owner_of(planned)} from sources configured otherwise here are waited for"
            )
            time.sleep(POLL_SECONDS)
        elif left_open == planned.window:
            raise refusal(planned, found, settings)
        else:
            left_open = planned.window  # it may have been committed just before its owner left: look again
    return None


def misfit(window: Window, settings: IngestSettings) -> Misfit | None:
    """Return the first difference that forbids to finish the window; None where there is none, or it is waived."""
    if window.window == settings.window.as_configured:
        return None
    for label in sorted(label for label, spans in window.spans.items() if spans):
        planned = window.sources.get(label, {})  # {} in a plan of an older version
        if label not in settings.sources:
            was = _described(planned)
            what = f"sources.{label}, which is not configured here"
            return Misfit(what, f"configure it as it was{was}", "quarantine its records")
        found = _difference(label, planned, settings.sources[label])
        if found is not None:
            return found
        source = open_source(label, settings.sources[label])
        strange = next((s.partition for s in window.spans[label] if not source.names(s.partition)), None)
        if strange is not None:
            where = settings.sources[label].describe()
            return Misfit(f"{strange}, which sources.{label}.{where} does not name", f"add it to sources.{label}")
    return None


def refusal(window: Window, found: Misfit, settings: IngestSettings) -> OpenPlanError:
    """Say which window is open, why it cannot be finished here, and what to do."""
    if window.owner and window.owner == settings.owner:
        who, first = "this run", ""
    else:
        who = f"{owner_of(window)}, which is not at work,"
        first = f"start {owner_of(window)} again, " if window.owner else ""
    return OpenPlanError(
        f"window {window.window} was planned by {who} with {found.what}; {first}{found.mend}, or give "
        f"window.as_configured={window.window} to {found.otherwise}"
    )


def owner_of(window: Window) -> str:
    """Name who planned a window, for people."""
    return f"run {window.owner}" if window.owner and not window.owner.startswith("@") else "another ingest"


def _difference(label: str, planned: Mapping[str, object], config: SourceConfig) -> Misfit | None:
    mine, finds = config.model_dump(mode="json"), config.FINDS | SourceConfig.FINDS
    for key, value in planned.items():
        if key not in finds and mine.get(key) != value:
            what = f"sources.{label}.{key}={value}, which is {mine.get(key)} here"
            return Misfit(what, "set it back")
    return None


def _described(planned: Mapping[str, object]) -> str:
    """Tell in parentheses where a source that was configured so has its documents; "" where that is not known."""
    try:
        return f" ({PLANNED.validate_python(planned).describe()})" if planned else ""
    except ValueError:
        return ""  # of a kind, or a version, that is not installed here
