"""Is the plan's interval of hours wide enough, on runs it was fitted to and on others?

It was fitted to 18 published A100 runs, so how many of them it covers proves little. It is told beside the coverage of
intervals fitted without the run, and without the run's whole team, and on six runs that were never used.
"""

import csv
import math
import statistics
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from benchmarks.root import ROOT
from cluster.planner.duration import PUBLISHED_MFU, SIBLING, Range, train_hours
from cluster.planner.memory import Case
from cluster.planner.plan import PlanConfig, plan

RUNS_FILE = ROOT / "tests" / "data" / "published_runs.csv"
COVERAGE = 0.9
GPUS_UNKNOWN = 256  # where a run's number of GPUs was not published
Run = dict[str, str]


def runs(use: str | None = None) -> list[Run]:
    """Return the published runs: those of the fit, those held out, or all."""
    with RUNS_FILE.open(newline="") as file:
        return [run for run in csv.DictReader(file) if use in (None, run["use"])]


def asked(run: Run, shaped: bool, **more: Any) -> PlanConfig:
    """Return the question a user would ask before this run; shaped: with layers, width and row length."""
    counts = {name: float(run[name]) for name in ("parameters", "tokens")}
    shape = {name: int(run[name]) for name in ("layers", "width", "row_tokens")} if shaped else {}
    gpus = int(run["gpus"] or GPUS_UNKNOWN)
    return PlanConfig.model_validate({**counts, **shape, "gpu": run["gpu"], "gpus": gpus, **more})


def implied_mfu(run: Run) -> float:
    """Return the MFU a run must have had: its FLOPs with attention over what its GPUs could do in its hours."""
    return train_hours(Case(asked(run, shaped=True), run["gpu"], 1), 1.0) / float(run["gpu_hours"])


def planned(run: Run, shaped: bool = False, **more: Any) -> Range:
    """Return the GPU-hours planned, failures included."""
    return Range(**plan(asked(run, shaped, **more))["gpu_hours"])


def fitted(found: Iterable[Run], coverage: float = COVERAGE) -> Range:
    """Return the MFU interval fitted to some runs: log-normal, for one run more (Student's t), and the mean."""
    logs = [math.log(implied_mfu(run)) for run in found]
    middle = statistics.mean(logs)
    wide = student_t(coverage, len(logs) - 1) * statistics.stdev(logs) * math.sqrt(1 + 1 / len(logs))
    return Range(*(math.exp(middle + side * wide) for side in (-1, 0, 1)))


def sibling_factor(found: Iterable[Run], coverage: float = COVERAGE) -> float:
    """Return how far a run lies from another of its team: the pooled scatter within teams of two runs or more."""
    teams = by_team(found)
    logs = [[math.log(implied_mfu(run)) for run in team] for team in teams.values() if len(team) > 1]
    freedom = sum(len(team) - 1 for team in logs)
    variance = sum(statistics.variance(team) * (len(team) - 1) for team in logs) / freedom
    return math.exp(student_t(coverage, freedom) * math.sqrt(2 * variance))


def by_team(found: Iterable[Run]) -> dict[str, list[Run]]:
    """Return runs by team."""
    teams: dict[str, list[Run]] = {}
    for run in found:
        teams.setdefault(run["team"], []).append(run)
    return teams


def inside(run: Run, interval: Range) -> bool:
    """Does a run's MFU lie in an interval?"""
    return interval.low <= implied_mfu(run) <= interval.high


def left_out(found: Sequence[Run], same: Callable[[Run, Run], bool]) -> int:
    """Count the runs inside the interval fitted to all runs but those that are the `same`."""
    return sum(inside(run, fitted(one for one in found if not same(one, run))) for run in found)


def sibling_pairs(found: Iterable[Run]) -> tuple[int, int]:
    """Return (inside, all) of the pairs of one team, one planned with the MFU of the other."""
    pairs = [(a, b) for team in by_team(found).values() for a in team for b in team if a is not b]
    near = [abs(math.log(implied_mfu(a) / implied_mfu(b))) <= math.log(SIBLING) for a, b in pairs]
    return sum(near), len(pairs)


def student_t(coverage: float, freedom: int) -> float:
    """Return the two-sided quantile of Student's t, by Simpson's rule and bisection.

    >>> round(student_t(0.9, 17), 3), round(student_t(0.9, 8), 3)
    (1.74, 1.86)
    """
    scale = math.gamma((freedom + 1) / 2) / (math.sqrt(freedom * math.pi) * math.gamma(freedom / 2))

    def within(limit: float, steps: int = 400) -> float:
        wide = limit / steps
        weights = [1 if i in (0, steps) else 4 if i % 2 else 2 for i in range(steps + 1)]
        heights = [(1 + (i * wide) ** 2 / freedom) ** (-(freedom + 1) / 2) for i in range(steps + 1)]
        return 2 * scale * wide / 3 * sum(w * h for w, h in zip(weights, heights, strict=True))

    low, high = 0.0, 100.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if within(middle) < coverage else (low, middle)
    return low


def coverages() -> dict[str, tuple[int, int]]:
    """Return (inside, all) for each way to judge the interval."""
    fit, held, every = runs("fit"), runs("held out"), runs()
    user = [planned(run) for run in every]
    hours = [float(run["gpu_hours"]) for run in every]
    return {
        "the 18 A100 runs it was fitted to": (sum(inside(run, PUBLISHED_MFU) for run in fit), len(fit)),
        "each run left out of the fit in turn": (left_out(fit, lambda a, b: a is b), len(fit)),
        "each team left out in turn": (left_out(fit, lambda a, b: a["team"] == b["team"]), len(fit)),
        "6 runs never used: Hopper, Megatron": (sum(inside(run, PUBLISHED_MFU) for run in held), len(held)),
        "all, asked as a user asks": (sum(u.low <= h <= u.high for u, h in zip(user, hours, strict=True)), len(every)),
    }


def median_error(found: Sequence[Run]) -> float:
    """Return the median of |planned / published - 1| at the expected MFU, with the run's own shape."""
    return statistics.median(abs(implied_mfu(run) / PUBLISHED_MFU.expected - 1) for run in found)
