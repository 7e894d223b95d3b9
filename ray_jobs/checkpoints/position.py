"""How far is a run, and what else does a checkpoint say that a resume or a reader needs?

`TrainingState` is what the manifest of a checkpoint holds beside its files. A trial of a sweep commits a `TrialState`,
which adds what only a trial needs. Both are written as one flat JSON object (`manifest.FORMAT`), so that every version
reads what another wrote: a field that is absent was not known then, a field that is unknown here is passed over.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import msgspec


class Position(msgspec.Struct, frozen=True):
    """How far the weights are: everything before it is in them, nothing after it."""

    round: int = 0
    step_in_round: int = 0
    step: int = 0
    tokens: int = 0
    skipped: tuple[tuple[int, int], ...] = ()  # (round, step in it) of steps that changed nothing
    losses: tuple[float, ...] = ()  # of the last steps, for the limit above which one is a spike


class Judgement(msgspec.Struct, frozen=True):
    """Where a run last left candidates to the gate, which ones, and what the next judgement is counted from.

    Written down in the checkpoint that the candidates leave, so that a start knows whether it stands at a judgement
    and finishes it as it was decided.
    """

    step: int | None = None  # None: there was none yet, and this is where counting began
    round: int = 0
    tokens: int = 0
    time_s: float = 0.0  # unix
    decay_tokens: int = 0  # over which a copy decays; 0: none does
    averages: bool = False  # is the average of the last weights a candidate?


@dataclass(frozen=True)
class StoredFile:
    """One rank's part of a checkpoint: path in the store, bytes, sha256 of its content."""

    path: str
    size_bytes: int
    sha256: str
    header: str | None = None  # digest of its header, which holds those of the rest (models.engine.parts)


class TrainingState(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a checkpoint holds beside its files. None: the version that wrote it did not say."""

    position: Position
    probe_loss: float | None  # of Engine.probe, compared when weights are loaded; None of what a run begins with
    world_size: int | None = None
    batch_tokens: int | None = None
    zero_stage: int | None = None
    optimizer: str = "adamw"  # whose states it holds: models.optimizer.Optimizer
    precision: str  # a key of restore.PROBE_TOLERANCE
    model: dict[str, object]  # the model's configuration
    tokenizer: str | None = None  # its fingerprint
    lease: int | None = None  # number of the claim under which a run's driver committed
    judged: Judgement | None = None
    copied_from: str | None = None  # the run whose checkpoint this is a copy of
    base: str | None = None  # checkpoint of the weights that the run began with; None: random ones


class TrialState(TrainingState, frozen=True, kw_only=True, omit_defaults=True):
    """What a trial of a sweep adds."""

    average: tuple[StoredFile, ...] = ()  # the averaged weights, in rank order
    curve: tuple[tuple[int, float], ...]  # training loss at the tokens behind the sweep's start
    seconds: float  # spent on the steps of the curve
    begun: int  # tokens behind the sweep's start that its donor had trained


def state_from_json(raw: Mapping[str, object]) -> TrainingState:
    """Read what a manifest holds; ValueError says which field is absent or of another type.

    >>> made = {"position": {"step": 3}, "probe_loss": 2.5, "precision": "bf16", "model": {}, "from_the_future": 1}
    >>> state_from_json(made).position.step
    3
    """
    return msgspec.convert(raw, TrialState if "begun" in raw else TrainingState)


def state_to_json(state: TrainingState) -> dict[str, object]:
    """Give the state as plain values."""
    return dict(msgspec.to_builtins(state))
