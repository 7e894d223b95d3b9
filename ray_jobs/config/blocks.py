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

    fresh_margin: float = Field(0.0, ge=0, description="bits per byte by which fresh text has to improve at least")
    old_margin: float = Field(0.005, ge=0, description="bits per byte by which an old slice may get worse")
    confidence: Share = Field(0.95, gt=0.5, lt=1, description="level of each one-sided bound")
    resamples: int = Field(2000, ge=100, le=100_000, description="bootstrap resamples per slice")
    min_documents: int = Field(5, ge=2, description="slices with fewer held-out documents are judged together")
    seed: int = Field(0, ge=0, description="seed of the resampling weights")
