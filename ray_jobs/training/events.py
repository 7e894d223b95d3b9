"""What happens in a run? One type a kind of event; metrics.jsonl has one line an event.

A line that is torn, or of a kind or form that this version does not know, is passed over: the log explains a run, and
nothing is resumed from it. A number that is not finite is written as null, for JSON has no word for it.
"""

from collections.abc import Iterable, Iterator, Mapping

import msgspec

from cluster.storage.store import Store
from data_ops.ingest.events import Happening, Warned, WindowDone
from ray_jobs.store.paths import run_path


class Started(Happening, frozen=True, kw_only=True, tag="started"):
    """A worker group begins at a step."""

    step: int
    workers: int
    pid: int = 0  # of rank 0
    text: str = ""


class Fault(Happening, frozen=True, kw_only=True, tag="fault"):
    """A worker failed."""

    rank: int
    text: str
    is_final: bool = False  # starting again would not change it


class _Planned(Happening, frozen=True, kw_only=True):
    """What is trained next."""

    steps: int = 0
    tokens: int = 0
    fresh_documents: int = 0
    fresh_tokens: int = 0
    replay_tokens: int = 0
    last_window: int = -1
    closed: str = ""  # why the round was cut
    shed_documents: int = 0
    mixture: int = -1  # version of the mixture that it was cut by; -1: there is none
    shares: Mapping[str, float] = {}  # of its fresh tokens by source
    dry: tuple[str, ...] = ()  # sources that had less than their share
    drift: Mapping[str, float] = {}  # population stability index of each source that is watched
    drifted: tuple[str, ...] = ()  # what is said of the sources whose text has changed
    drift_alarms: int = 0  # how often that was said in the whole run


class RoundBegun(_Planned, frozen=True, kw_only=True, tag="round"):
    """A round is trained from now on."""

    round: int


class BranchBegun(_Planned, frozen=True, kw_only=True, tag="branch"):
    """A decay branch leaves the main line at a step."""

    step: int


class StepDone(Happening, frozen=True, kw_only=True, tag="step"):
    """One optimizer step."""

    step: int
    branch: bool = False
    round: int = 0
    tokens: int = 0
    predictions: int = 0
    positions: int = 0
    loss: float | None = None
    ahead_losses: tuple[float | None, ...] = ()  # of the tokens behind the next one (model.mtp)
    grad_norm: float | None = None
    learning_rate: float = 0.0
    seconds: float = 0.0
    data_wait_s: float = 0.0
    tokens_per_second: float = 0.0
    mfu: float | None = None
    freshness_s: tuple[float, ...] = ()  # from a document's arrival to this step, of those that are done with it
    to_lake_s: Mapping[str, tuple[float, ...]] = {}  # by source: from a document's own time to its arrival
    to_gradient_s: Mapping[str, tuple[float, ...]] = {}  # and to this step
    skipped_steps: int = 0  # of the whole run


class StepSkipped(Happening, frozen=True, kw_only=True, tag="skip"):
    """A step changed nothing."""

    step: int
    round: int = 0
    text: str = ""


class Evaluated(Happening, frozen=True, kw_only=True, tag="evaluation"):
    """Held-out text was scored: by slice its bits per byte, documents and bytes."""

    step: int
    slices: Mapping[str, Mapping[str, int | float | None]]
    branch: bool = False
    round: int = 0
    seconds: float = 0.0


class SnapshotTaken(Happening, frozen=True, kw_only=True, tag="checkpoint"):
    """The state was copied; training went on after `checkpoint_stall_s`."""

    step: int
    checkpoint_stall_s: float


class Committed(Happening, frozen=True, kw_only=True, tag="commit"):
    """A checkpoint counts from now on."""

    step: int
    round: int = 0
    size_bytes: int = 0
    branch: bool = False


class CandidateMade(Happening, frozen=True, kw_only=True, tag="candidate"):
    """The candidates of a judgement are committed; the gate may be asked."""

    step: int  # of the main line


class CandidateJudged(Happening, frozen=True, kw_only=True, tag="judged"):
    """The gate has spoken."""

    step: int
    promoted: bool
    checkpoint: str = ""
    verdict: str = ""
    reasons: tuple[str, ...] = ()
    previous: str | None = None  # the checkpoint that was in service then
    to_champion_s: Mapping[str, tuple[float, ...]] = {}  # by source, of what it was given and the one before was not
    tasks: Mapping[str, tuple[float, float]] = {}  # what the champion then, and the candidate, showed at each task


PIECE_BYTES = 1 << 20
NEWEST_BYTES = 1 << 19  # some hundred steps

Event = (
    Started
    | Fault
    | RoundBegun
    | BranchBegun
    | StepDone
    | StepSkipped
    | Evaluated
    | SnapshotTaken
    | Committed
    | CandidateMade
    | CandidateJudged
    | WindowDone
    | Warned
)
_DECODER: msgspec.json.Decoder[Event] = msgspec.json.Decoder(Event)


def event_kind(event: Event) -> str:
    """Name of the kind in metrics.jsonl."""
    return str(event.__struct_config__.tag)


def event_to_row(event: Event) -> dict[str, object]:
    """Give the line of metrics.jsonl as plain values."""
    row: dict[str, object] = msgspec.to_builtins(event)
    return {"time": row.pop("time"), **row}


def final_steps(events: Iterable[Event]) -> list[StepDone]:
    """The steps that are in the weights: of a step trained again after a restart, the last one."""
    steps = {event.step: event for event in events if isinstance(event, StepDone) and not event.branch}
    return [steps[number] for number in sorted(steps)]


def read_events(store: Store, run: str) -> list[Event]:
    """All events of a run, over all its drivers, without the lines that cannot be read."""
    return list(each_event(store, run))


def each_event(store: Store, run: str) -> Iterator[Event]:
    """The same one by one: a piece of the file is in memory."""
    path = run_path(run, "metrics.jsonl")
    if not store.exists(path):
        return
    with store.open_input(path) as stored:
        rest = b""
        while piece := stored.read(PIECE_BYTES):
            *lines, rest = (rest + piece).split(b"\n")
            yield from filter(None, map(event_of_line, lines))
        yield from filter(None, [event_of_line(rest)])


def newest_events(store: Store, run: str, most_bytes: int = NEWEST_BYTES) -> list[Event]:
    """The last events of a run, at a cost that does not grow with it."""
    path = run_path(run, "metrics.jsonl")
    if not store.exists(path):
        return []
    with store.open_input(path) as stored:
        size = stored.size()
        data = stored.read_at(min(size, most_bytes), max(0, size - most_bytes))
    lines = data.split(b"\n")[size > most_bytes :]
    return [event for line in lines if (event := event_of_line(line)) is not None]


def event_of_line(line: bytes) -> Event | None:
    """Read one line of metrics.jsonl; None if it is torn or foreign.

    >>> event_of_line(b'{"event":"warning","time":1.5,"text":"a word"}')
    Warned(time=1.5, text='a word')
    >>> event_of_line(b'{"event":"warning","ti') is event_of_line(b'{"event":"of tomorrow"}') is None
    True
    """
    try:
        return _DECODER.decode(line)
    except ValueError:
        return None
