"""How long will a run take, and how sure is that?

FLOPs as PaLM's appendix B counts them over peak times MFU, and what failures cost on top (Young 1974, Daly 2006). The
only guess is the MFU: its interval is the 90 % prediction interval of a log-normal fitted to 18 published A100 runs;
`benchmarks/planner/plan_interval.py` checks its coverage by leaving teams out and on runs that were not used. Network
limits, evaluation and idle time are left out, but for what the published runs had of them.
"""

from typing import NamedTuple

from cluster.planner.formulas import checkpoint_interval_s, goodput, train_flops
from cluster.planner.memory import Case

SIBLING = 1.32  # a run's MFU over that of another of its team: 90 % within this factor, on A100
RECOMPUTED = 4 / 3  # work with recompute to work without
MFU_ERROR = (
    "MFU {low:.2f}-{high:.2f}, as published runs reached: 17 of 18 A100 runs lie inside, also with each team left "
    "out of the fit in turn, and 5 of 6 runs never used; expected hours are off by 19 % in the median"
)
OWN_ERROR = (
    "your MFU, within a factor of 1.32: 28 of 30 pairs of A100 runs of one team lie so close, and 4 of 8 pairs "
    "that were never used"
)


class Range(NamedTuple):
    """Low, expected and high of one figure."""

    low: float
    expected: float
    high: float

    def times(self, factor: float) -> "Range":
        """All three, multiplied."""
        return Range(*(value * factor for value in self))


PUBLISHED_MFU = Range(0.25, 0.40, 0.63)


def mfu_range(case: Case) -> Range:
    """Return the MFU to plan with: of published runs, or what one's own runs reported."""
    if (mine := case.config.mfu) is not None:
        return Range(mine / SIBLING, mine, min(1.0, mine * SIBLING))
    return PUBLISHED_MFU.times(1 / RECOMPUTED if case.config.recompute else 1)


def stated_error(case: Case) -> str:
    """Say how sure the hours are, and why."""
    if case.config.mfu is not None:
        return OWN_ERROR
    used = MFU_ERROR.format(low=PUBLISHED_MFU.low, high=PUBLISHED_MFU.high)
    return f"{used}; recomputing is a third more work on top" if case.config.recompute else used


def flops(case: Case, attention: bool = True) -> float:
    """Return the model's FLOPs of the whole run, recomputation left out as in every MFU; with or without attention."""
    layers, width = case.shape
    further = case.config.predicted_tokens - 1  # each with a layer of its own, and the output table once more
    inner = (layers + further) * width * case.config.row_tokens if attention else 0
    multiplied = case.config.parameters + further * case.config.vocabulary * width
    frozen = case.config.parameters - case.trained  # of which no gradient is taken: 4ND and not 6
    return train_flops(multiplied, tokens(case), inner) - 2 * tokens(case) * max(0, frozen)


def tokens(case: Case) -> int:
    """Return the tokens asked about, else 20 a parameter (Hoffmann 2022)."""
    return case.config.tokens or 20 * case.config.parameters


def train_hours(case: Case, mfu: float) -> float:
    """Return GPU-hours at one utilisation, failures not counted."""
    return flops(case) / (case.kind.peak_tflops * 1e12 * mfu * 3600)


def gpu_hours(case: Case) -> Range:
    """Return GPU-hours, failures counted: low at the high MFU."""
    mfu, worked = mfu_range(case), 1 - failures(case).share
    return Range(*(train_hours(case, value) / worked for value in (mfu.high, mfu.expected, mfu.low)))


class Failures(NamedTuple):
    """Seconds between failures of the cluster and between checkpoints, and the share of time that both cost."""

    mtbf_s: float
    interval_s: float
    share: float


def failures(case: Case) -> Failures:
    """Return the best checkpoint interval and what is lost with it; a share of 1 or more is no progress at all."""
    config = case.config
    mtbf_s, stall_s = config.mtbf_hours * 3600 / case.gpus, max(config.checkpoint_stall, 1e-3)
    interval_s = checkpoint_interval_s(stall_s, mtbf_s)
    return Failures(mtbf_s, interval_s, 1 - goodput(interval_s, stall_s, config.restart, mtbf_s))


def days(case: Case) -> float:
    """Return the days expected; infinite where failures leave no time to train."""
    if failures(case).share >= 1:
        return float("inf")
    return gpu_hours(case).expected / case.gpus / 24
