"""What can be configured of checkpoints, evaluation and the gate?"""

from typing import Literal

from pydantic import Field, JsonValue

from cluster.units import Duration, Settings, Share


class CheckpointConfig(Settings):
    """When weights, optimizer and data position are committed."""

    every_seconds: Duration = Field(60.0, gt=0, description="wall time between two commits")
    keep: int = Field(2, ge=1, le=1000, description="commits kept besides the champion's")


class EvaluateConfig(Settings):
    """Which held-out text is judged, and how often."""

    period: Literal["day", "week", "month", "year"] = Field("month", description="length of a slice in event time")
    documents_per_slice: int = Field(200, ge=1, description="held-out documents of a slice that are scored at most")
    every_rounds: int = Field(1, ge=1, description="rounds between two evaluations in training")
    tasks: tuple[str | dict[str, JsonValue], ...] = Field(
        (),
        description="Tasks besides held-out text which no candidate may get worse at: names, or {kind: name, ...}.",
    )


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
