"""What is one measured line, and how is it compared and shown?

A row holds every repeat of our figure and, where there is something to compare with, every repeat of that and the
ratios taken within one repeat. A goal is judged on the median: of the ratios where there are any, else of our figure.
"""

import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, NamedTuple


class Goal(NamedTuple):
    """A bound on the median: `at_least` or `at_most`, of the `ratio` or of `ours`."""

    bound: float
    at_least: bool = True
    of_ratio: bool = True

    def __str__(self) -> str:
        return f"{'≥' if self.at_least else '≤'} {show(self.bound)}{' ×' if self.of_ratio else ''}"


@dataclass(frozen=True)
class Row:
    """One line of the table; `why` says in a sentence why the goal was missed, `note` what the figure leaves out."""

    what: str
    unit: str
    ours: Sequence[float]
    against_name: str = ""
    against: Sequence[float] = ()
    ratios: Sequence[float] = ()  # ours to against, of the same repeat
    goal: Goal | None = None
    why: str = ""
    note: str = ""
    raw: dict[str, Any] = field(default_factory=dict)

    @property
    def met(self) -> bool | None:
        """Is the goal reached? None without a goal."""
        if self.goal is None:
            return None
        value = statistics.median(self.ratios if self.goal.of_ratio else self.ours)
        return value >= self.goal.bound if self.goal.at_least else value <= self.goal.bound

    def to_dict(self) -> dict[str, Any]:
        """Everything, with the spreads, for the raw results."""
        lists = {"ours": self.ours, "against": self.against, "ratios": self.ratios}
        spreads = {f"{name}_spread": spread(values) for name, values in lists.items() if len(values)}
        goal = {"goal": str(self.goal) if self.goal else None, "goal_bound": list(self.goal) if self.goal else None}
        return {**asdict(self), **{k: list(v) for k, v in lists.items()}, **spreads, **goal, "met": self.met}


def paired(ours: Sequence[float], against: Sequence[float]) -> list[float]:
    """Ratios of the same repeats."""
    return [a / b for a, b in zip(ours, against, strict=True)]


def spread(values: Sequence[float]) -> dict[str, float]:
    """Median, smallest and largest."""
    return {"median": statistics.median(values), "min": min(values), "max": max(values), "repeats": len(values)}


def show(value: float) -> str:
    """Three significant digits.

    >>> show(1234567.0), show(0.01234), show(12.0), show(0)
    ('1,230,000', '0.0123', '12', '0')
    """
    if value == 0:
        return "0"
    if abs(value) < 1e-3:
        return f"{value:.2e}"
    rounded = float(f"{value:.3g}")
    return f"{rounded:,.0f}" if abs(rounded) >= 100 else f"{rounded:g}"


def between(values: Sequence[float], unit: str = "") -> str:
    """Median [min..max] with its unit; a single value, or equal ones, without the range."""
    middle, low, high = show(statistics.median(values)), show(min(values)), show(max(values))
    return f"{middle} {unit}".rstrip() if low == high else f"{middle} [{low}..{high}] {unit}".rstrip()


def table(rows: Sequence[Row]) -> str:
    """The rows as one Markdown table, and below it why goals were missed and what figures leave out."""
    lines = ["| what | ours | against | ratio median [min..max] | goal | met? |", "|---|---|---|---|---|---|"]
    notes = []
    for row in rows:
        against = f"{between(row.against, row.unit)} ({row.against_name})" if len(row.against) else row.against_name
        ratio = between(row.ratios) if len(row.ratios) else ""
        met = {None: "", True: "yes", False: "**no**"}[row.met]
        cells = (row.what, between(row.ours, row.unit), against, ratio, str(row.goal or ""), met)
        lines.append("| " + " | ".join(cell or "–" for cell in cells) + " |")
        if row.met is False:
            notes.append(f"- **{row.what}: goal missed.** {row.why}")
        if row.note:
            notes.append(f"- {row.what}: {row.note}")
    return "\n".join([*lines, "", *notes]) + "\n"
