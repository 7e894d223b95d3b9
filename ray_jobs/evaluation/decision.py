"""What does the gate answer, and in which sentences?"""

import math
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, TypedDict

from cluster.readable import seconds, signed, whole
from ray_jobs.evaluation.bounds import Correlation, PairedItems, items_needed, least_items

Word = Literal["promoted", "refused", "not asked"]
Role = Literal["fresh", "pool", "old", "shown"]  # shown: nothing is asked of it
FIRST_LEAST = 5  # held-out documents for a first champion
Outcome = Literal["better", "within", "worse", "unclear"]


@dataclass(frozen=True)
class SliceResult:
    """One slice, or pool of slices, in `unit`; low and high bound the difference, None where they do not."""

    name: str
    role: Role
    documents: int
    bytes: int
    before: float
    after: float
    difference: float
    low: float | None
    high: float | None
    verdict: Outcome
    limit: float = 0.0
    unit: str = "bits/byte"


class SliceRow(TypedDict, total=False):
    """A `SliceResult` as it is written down; one of an older version has no limit."""

    name: str
    role: str
    documents: int
    bytes: int
    before: float | None
    after: float | None
    difference: float | None
    low: float | None
    high: float | None
    verdict: str
    limit: float
    unit: str


class DecisionRow(TypedDict, total=False):
    """A `Decision` as it is written down; one of an older version has a confidence instead of a verdict and a level."""

    promoted: bool
    verdict: str
    reasons: list[str]
    slices: list[SliceRow]
    fresh: SliceRow | None
    ask: int
    level: float
    confidence: float
    old_margin: float
    against: str
    skew: float | None
    kurtosis: float | None
    tasks: dict[str, list[SliceRow]]


@dataclass(frozen=True)
class Decision:
    """The verdict on one candidate; the first reason is the one that decided."""

    verdict: Word
    reasons: list[str]
    slices: list[SliceResult] = field(default_factory=list)
    fresh: SliceResult | None = None
    ask: int = 0
    level: float = 0.0
    old_margin: float = 0.0  # share of the champion's bits per byte
    against: str = "the champion"
    skew: float | None = None  # of the residuals of fresh text: above 3 with few documents the bound is too sure
    kurtosis: float | None = None
    tasks: dict[str, list[SliceResult]] = field(default_factory=dict)

    @property
    def promoted(self) -> bool:
        """May the candidate take the champion's place?"""
        return self.verdict == "promoted"

    @property
    def sentence(self) -> str:
        """The verdict and the reason that decided."""
        return f"{self.verdict}: {(self.reasons or ['no reason was recorded'])[0]}"

    def to_dict(self) -> DecisionRow:
        """Return the decision as JSON-able values."""
        plain: Any = asdict(self)
        row: DecisionRow = plain
        return {"promoted": self.promoted, **row}


def result(name: str, role: Role, sample: PairedItems, bounds: tuple[float, float], limit: float) -> SliceResult:
    """Tell a slice or pool with its bounds; it has to lie below the limit."""
    low, high = bounds
    verdict: Outcome = "unclear"
    if high < limit or (high <= limit and role != "fresh"):
        verdict = "better" if role == "fresh" or high < 0 else "within"
    elif low > max(limit, 0.0):
        verdict = "worse"
    return SliceResult(
        name=name,
        role=role,
        documents=sample.count,
        bytes=int(sample.sizes.sum()),
        before=sample.reference,
        after=sample.reference + sample.difference,
        difference=sample.difference,
        low=low if math.isfinite(low) else None,
        high=high if math.isfinite(high) else None,
        verdict=verdict,
        limit=limit,
        unit=sample.unit,
    )


def not_asked(documents: int, level: float, arrivals: float = 0.0, *, is_first: bool = False) -> Decision | None:
    """Return the verdict *not asked* where there are too few fresh documents to ask at a level; else None.

    arrivals: held-out documents a day. Counts alone decide, never figures, so nothing is spent. A first champion needs
    no more than a bound does: there is nobody in service whom a mistake would harm.
    """
    short = (FIRST_LEAST if is_first else least_items(level)) - documents
    if short <= 0:
        return None
    said = f"{whole(documents)} fresh held-out documents; {whole(short)} more are needed{_wait(short, arrivals)}"
    return Decision("not asked", [said], level=level)


def fresh_sentence(found: SliceResult, sample: PairedItems, ask: str, advice: str) -> str:
    """Tell how fresh text came out."""
    head = {"better": "got better", "worse": "got worse"}.get(found.verdict, "is not shown to be better")
    said = f"fresh text {head}: {_figures(found)} over {whole(sample.count)} documents ({ask})"
    return f"{said}; {advice}" if found.verdict == "unclear" else said


def advice_fresh(sample: PairedItems, limit: float, level: float, known: Correlation, arrivals: float) -> str:
    """Tell how many more documents would show it, and when they are there."""
    more = items_needed(sample, limit, level, known)
    if more is None:
        return "it does not look better"
    return f"if that is the truth, about {whole(more)} more held-out documents would show it{_wait(more, arrivals)}"


def pool_sentence(found: SliceResult, sample: PairedItems, margin: float, against: str, level: float) -> str:
    """Tell that a pool of old text may have lost too much, and what would show that it has not."""
    verb = "lost" if found.verdict == "worse" else "may have lost"
    said = (
        f"old text of {found.name} {verb} more than {margin:.1%} against {against}: {_figures(found)}, "
        f"limit {signed(found.limit, 4)}, over {whole(sample.count)} documents"
    )
    if found.verdict == "worse" or found.high is None:
        return said
    wider = math.ceil(1000 * found.high / found.before) / 1000
    if sample.count < 20:
        return f"{said}, which are too few to judge by; raise held_out, or move the champion by hand (promote --to)"
    more = items_needed(sample, found.limit, level)
    shown = f"about {whole(more)} more old documents (gate.old_documents, held_out) would show it, or " if more else ""
    return f"{said}; if that is the truth, {shown}a margin of {wider:.1%} would let it pass"


def slice_sentence(found: SliceResult, against: str) -> str:
    """Tell that one slice got worse."""
    return f"{found.name} got worse than {against}: {signed(found.difference, 4)}, at least {signed(found.low, 4)}"


def _figures(found: SliceResult) -> str:
    high = "without a bound" if found.high is None else f"at most {signed(found.high, 4)}"
    return f"{signed(found.difference, 4)} {found.unit}, {high}"


def _wait(documents: int, arrivals: float) -> str:
    if arrivals <= 0:
        return ""
    days = documents / arrivals
    return f", in about {f'{whole(math.ceil(days))} days' if days > 1 else seconds(86400 * days)} at today's rate"
