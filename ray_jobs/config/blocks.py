"""What can be configured of checkpoints, evaluation, judgements and the gate?"""

from collections.abc import Iterable
from typing import Annotated, Literal, NamedTuple

from pydantic import BeforeValidator, Field, JsonValue

from cluster.planner.config import parse_count
from cluster.units import Duration, Settings, Share, Size, parse_duration
from data_ops.documents.periods import Period


class CheckpointConfig(Settings):
    """When weights, optimizer and data position are committed."""

    every_seconds: Duration = Field(60.0, gt=0, description="wall time between two commits")
    keep: int = Field(2, ge=1, le=1000, description="commits kept besides the champion's")


class EvaluateConfig(Settings):
    """Which held-out text is judged, and how often."""

    period: Period = Field("month", description="length of a slice in event time")
    documents_per_slice: int = Field(200, ge=1, description="held-out documents of a slice that are scored at most")
    every_rounds: int = Field(1, ge=1, description="rounds between two evaluations in training")
    steer: Share = Field(
        0.0,
        lt=1,
        description="share of the held-out documents that a sweep chooses by, and no gate from then on; 0: both by all",
    )
    tasks: tuple[str | dict[str, JsonValue], ...] = Field(
        (),
        description="Tasks besides held-out text which no candidate may get worse at: names, or {kind: name, ...}.",
    )


class Interval(NamedTuple):
    """How much lies between two judgements."""

    amount: float
    unit: Literal["rounds", "tokens", "seconds"]


def parse_interval(text: str) -> Interval:
    """Read what lies between two judgements; ValueError where it is no positive amount.

    >>> [tuple(parse_interval(text)) for text in ("8 rounds", "5M tokens", "10m")]
    [(8.0, 'rounds'), (5000000.0, 'tokens'), (600.0, 'seconds')]
    """
    amount, _, unit = text.strip().partition(" ")
    try:
        if unit.strip() in ("round", "rounds"):
            found = Interval(float(int(amount)), "rounds")
        elif unit.strip() in ("token", "tokens"):
            found = Interval(float(str(parse_count(amount))), "tokens")
        else:
            found = Interval(float(str(parse_duration("none" if text.strip().isdigit() else text))), "seconds")
    except ValueError:
        found = Interval(0.0, "seconds")
    if found.amount <= 0:
        raise ValueError(f"{text!r} is not understood; write for example 10m, 20 rounds or 5M tokens")
    return found


def _checked(value: object) -> object:
    """Let what is understood pass as text; a bare number is none, because it does not say of what."""
    if value is None:
        return None
    parse_interval(str(value))
    return str(value)


class JudgeConfig(Settings):
    """When a run that goes on leaves a candidate to the gate, and which; its end is judged in any case."""

    every: Annotated[str | None, BeforeValidator(_checked)] = Field(
        None, description="between two judgements: a time (10m), rounds (20 rounds) or tokens (5M tokens); absent: none"
    )
    candidate: Literal["decay", "average", "best_of"] = Field(
        "decay",
        description="a branch whose learning rate decays, the average of the last weights, or both in one ask",
    )

    @property
    def interval(self) -> Interval | None:
        """What lies between two judgements."""
        return parse_interval(self.every) if self.every else None

    @property
    def averages(self) -> bool:
        """Is a running average of the weights kept?"""
        return self.candidate != "decay"


class GateConfig(Settings):
    """What a candidate has to show before it becomes the champion."""

    confidence: Share = Field(
        0.95, gt=0.5, lt=1, description="that no ask against a champion promotes what is no better"
    )
    fresh_margin: Share = Field(
        0.0, description="share of its bits per byte by which fresh text has to improve at least"
    )
    old_margin: Share = Field(0.01, description="share of its bits per byte that old text of a source may lose at once")
    drift_margin: Share = Field(0.03, description="share that it may lose over many champions together")
    fresh_documents: int = Field(5000, ge=32, description="fresh held-out documents that are judged at most")
    old_documents: int = Field(3000, ge=20, description="old held-out documents of a source that are judged at least")


class FeedbackConfig(Settings):
    """What is kept of answers and of what people say of them."""

    folder: str | None = Field(None, min_length=1, description="where it is kept, with consent alone; absent: nowhere")
    share: Share = Field(
        1.0, description="of the answers to requests with store=true, those that are kept though nobody rated them"
    )
    hold: Duration = Field(3600.0, gt=0, le=30 * 86400, description="how long an answer can be spoken of")
    memory: Size = Field(64 << 20, ge=1 << 20, le=64 << 30, description="what answers that are held may take")


class CanaryConfig(Settings):
    """How a new champion is tried on a share of the conversations before it answers all of them."""

    share: Share = Field(0.0, le=0.5, description="what it answers at first; 0: it takes over at once")
    within: Duration = Field(
        3600.0, gt=0, le=30 * 86400, description="from its promotion until it takes over, unless it was shown worse"
    )
    margin: Share = Field(0.05, description="by how much more of its answers may be rated down")


class ServeConfig(Settings):
    """What `headrace serve` takes at once, and how often it looks for another champion."""

    batch: int = Field(8, ge=1, le=256, description="answers that go on at once, as the rows of one batch")
    context: int | None = Field(
        None, ge=2, le=2**20, description="tokens of a prompt and its answer together; absent: the model's row_tokens"
    )
    queue: int = Field(64, ge=1, le=100_000, description="answers that wait; beyond them a request gets 429")
    max_body: Size = Field(2**20, ge=1024, le=2**28, description="bytes that a request may hold")
    look_every: Duration = Field(2.0, gt=0, le=3600, description="between two looks at the store's champion")
    replicas: int = Field(1, ge=1, le=256, description="processes that answer at one port, each with its own weights")
    feedback: FeedbackConfig = FeedbackConfig()
    canary: CanaryConfig = CanaryConfig()


class TriggerConfig(Settings):
    """When `headrace trigger` starts a run: what comes first."""

    tokens: Annotated[int, BeforeValidator(parse_count)] | None = Field(
        None, ge=1, description="about so many tokens wait, at four bytes each: 5M"
    )
    documents: Annotated[int, BeforeValidator(parse_count)] | None = Field(
        None, ge=1, description="so many records wait"
    )
    bytes: Size | None = Field(None, ge=1, description="so many bytes of them wait")
    every: Duration | None = Field(None, gt=0, description="anything waits, and the last start is so long ago")
    look_every: Duration = Field(30.0, gt=0, le=86_400, description="between two looks at the sources")


class SloConfig(Settings):
    """How fresh text has to be trained (a service level objective), and how much of it may be late."""

    freshness: Duration | dict[str, Duration] | None = Field(
        None, description="from a document's own time to its first gradient: 10m, or {label: 10m}; absent: no objective"
    )
    late: Share = Field(0.01, gt=0, lt=1, description="share of the documents that may take longer")

    def within_s(self, labels: Iterable[str]) -> dict[str, float]:
        """Return the seconds within which text has to be trained, by source that has an objective."""
        if isinstance(self.freshness, dict):
            return {label: self.freshness[label] for label in labels if label in self.freshness}
        return dict.fromkeys(labels, self.freshness) if self.freshness is not None else {}


class CardConfig(Settings):
    """What model cards and data cards say that no run can know."""

    license: str | None = Field(
        None, min_length=1, max_length=200, description="Of the model: apache-2.0, other; absent: not stated"
    )
    watts: float | None = Field(
        None, gt=0, le=1e5, description="power of one worker with its share of the machine, measured or planned"
    )
    co2_g_per_kwh: float | None = Field(
        None, ge=0, le=5000, description="grams of CO2 that a kilowatt-hour costs where the machine stands"
    )
