"""What are the report and the terminal told of a run?

Plain JSON values, of which each part may be empty: a run of an older version, or one that goes on, has not all of them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypedDict

from ray_jobs.evaluation.decision import DecisionRow
from ray_jobs.evaluation.harness.result import Showing
from ray_jobs.report.charts.timeline import Moment
from ray_jobs.report.freshness import Chain, KeptShare
from ray_jobs.report.losses import StageFigures


class Header(TypedDict, total=False):
    """What runs, on what, and from where it goes on."""

    name: str
    store: str
    workers: int
    nodes: int
    zero_stage: int
    precision: str
    parameters: int
    trained_parameters: int
    begins_with: str | None
    resumed_step: int | None
    resumed_round: int | None


class Summary(TypedDict, total=False):
    """summary.json: how a run stands after its last driver."""

    name: str
    steps: int
    rounds: int
    tokens: int
    documents: dict[str, int | dict[str, int]]
    ok: bool
    lost: int
    repeated: int
    waiting: int
    abandoned: int
    gone: int
    untaken: dict[str, dict[str, dict[str, dict[str, int]]]]
    loss: dict[str, float | None]
    bits_per_byte: dict[str, dict[str, float | None]]
    measure: str  # what these are: bits/byte, or of an encoder masked bits/byte
    workers: int
    zero_stage: int
    seconds: float
    tokens_per_second: float | None
    data_wait_share: float | None
    freshness_s: dict[str, float | None]
    from_event_s: Chain
    slo: dict[str, KeptShare]
    skipped_steps: int
    sample_fingerprint: str | None
    weights_sha256: str | None
    tokenizer: str | None
    resumed_from: int | None
    checkpoint: str | None
    promoted: bool
    verdict: str | None
    reasons: list[str]
    state: str


class Evaluation(TypedDict, total=False):
    """Held-out text as it was scored at a step: by slice its bits per byte, documents and bytes."""

    step: int
    round: int
    slices: Mapping[str, Mapping[str, int | float | None]]


class Ages(TypedDict, total=False):
    """How many documents of each age were trained."""

    edges_days: list[float]  # [n + 1], the best is doubling
    fresh: list[int]  # [n]
    replay: list[int]  # [n]
    ideal: list[float] | dict[str, list[float]] | None  # the replay that exact decay would give
    unit: str
    sources: dict[str, dict[str, int]]  # by source: fresh, replay


class WindowRow(TypedDict, total=False):
    """What became of the records of a window."""

    window: int
    seconds: float
    read: int
    kept: int
    held_out: int
    quarantined: int
    dropped: dict[str, int]  # by reason


class Unreadable(TypedDict):
    """A record that could not be read."""

    place: str
    reason: str
    sample: str  # a stranger's text


@dataclass(frozen=True)
class ReportData:
    """Everything the report tells."""

    summary: Summary = field(default_factory=Summary)
    config: Mapping[str, object] = field(default_factory=dict)
    metrics: list[dict[str, object]] = field(default_factory=list)
    """step, round, tokens, loss, learning_rate, tokens_per_second, data_wait_share, grad_norm, time."""
    evaluations: list[Evaluation] = field(default_factory=list)
    """In order, the first before training."""
    decision: DecisionRow | None = None
    tasks: Sequence[Showing] = ()
    """What champions, and this run's candidate, showed at tasks; oldest first."""
    ages: Ages = field(default_factory=Ages)
    windows: list[WindowRow] = field(default_factory=list)
    quarantine: list[Unreadable] = field(default_factory=list)
    losses: list[StageFigures] = field(default_factory=list)
    """What each rule took out of each source, of all windows of the store."""
    freshness_s: list[float] = field(default_factory=list)
    """Seconds from a document's arrival to the first gradient that saw it."""
    events: list[Moment] = field(default_factory=list)
    """What the time line shows."""
    versions: Mapping[str, object] = field(default_factory=dict)
