"""Which bars does a chart of event times have: months, or years where months would be too many?"""

from collections import Counter
from collections.abc import Iterable, Sequence

from ray_jobs.explorer.figures import Counts, MonthFigures

MONTHS_DRAWN, YEARS_DRAWN = 72, 120
Bars = list[tuple[str, Counts]]


def time_bars(months: Iterable[MonthFigures]) -> Bars:
    """A bar for each month in order, gaps included, all sources together; or for each year.

    Where even years would be too many (a record that could not be read says year 9999) only those with records. Records
    without a time are left out.
    """
    by_month = _summed((one.month, one.outcomes) for one in months if one.month)
    names = _without_gaps(sorted(by_month))
    if len(names) > MONTHS_DRAWN:
        by_month = _summed((name[:4], counts) for name, counts in by_month.items())
        years = _without_gaps(sorted(by_month))
        names = years if len(years) <= YEARS_DRAWN else sorted(by_month)
    return [(name, dict(by_month.get(name, {}))) for name in names]


def bar_name(bars: Bars, place: int) -> str:
    """What stands below a bar: of years some, of months each January, or the first where there is none."""
    name = bars[place][0]
    if len(name) == 4:
        return name if place % max(1, len(bars) // 8) == 0 else ""
    if name.endswith("-01"):
        return name[:4]
    return name if place == 0 and not any(each.endswith("-01") for each, _ in bars) else ""


def _summed(counted: Iterable[tuple[str, Counts]]) -> dict[str, Counter[str]]:
    found: dict[str, Counter[str]] = {}
    for name, counts in counted:
        found.setdefault(name, Counter()).update(counts)
    return found


def _without_gaps(names: Sequence[str]) -> list[str]:
    """Months or years in order, those between them included.

    >>> _without_gaps(["2023-11", "2024-02"])
    ['2023-11', '2023-12', '2024-01', '2024-02']
    """
    if not names:
        return []
    if len(names[0]) == 4:
        return [f"{year:04d}" for year in range(int(names[0]), int(names[-1]) + 1)]
    first, last = (int(name[:4]) * 12 + int(name[5:]) - 1 for name in (names[0], names[-1]))
    return [f"{month // 12:04d}-{month % 12 + 1:02d}" for month in range(first, last + 1)]
