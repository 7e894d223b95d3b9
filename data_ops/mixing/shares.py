"""Which share of the fresh tokens does each source have now? Pure functions of a mixture and of recorded figures."""

from collections.abc import Mapping, Sequence

from data_ops.mixing.config import MixtureConfig, Stage


def shares_at(mixture: MixtureConfig, tokens: int) -> dict[str, float] | None:
    """The stated shares once so many tokens are trained, by label; they add up to 1. None where none are stated.

    Sources that are paused, removed or have no share are left out.

    >>> shares_at(MixtureConfig(shares={"a": 3, "b": 1, "c": 1}, paused=("c",)), 0)
    {'a': 0.75, 'b': 0.25}
    """
    stated = _scheduled(mixture.schedule, tokens) if mixture.schedule else mixture.shares
    if not isinstance(stated, Mapping):
        return None
    idle = {*mixture.paused, *mixture.removed}
    return with_floor({k: stated[k] for k in sorted(stated) if stated[k] > 0 and k not in idle}, mixture.floor)


def with_floor(wanted: Mapping[str, float], floor: float) -> dict[str, float]:
    """Scale to a sum of 1, and raise what is below the floor at the expense of the rest.

    >>> with_floor({"a": 96, "b": 3, "c": 1}, 0.05)
    {'a': 0.9, 'b': 0.05, 'c': 0.05}
    """
    low = set[str]()
    if not wanted:
        return {}
    floor = min(floor, 1 / len(wanted))
    while True:
        rest = sum(part for label, part in wanted.items() if label not in low)
        left = 1 - floor * len(low)
        shares = {k: floor if k in low else left * part / rest for k, part in wanted.items()}
        below = {label for label, share in shares.items() if share < floor and label not in low}
        if not below or len(low | below) == len(wanted):  # all at the floor is the mean itself
            return shares
        low |= below


def _scheduled(stages: Sequence[Stage], tokens: int) -> dict[str, float]:
    """Between two stages the shares move in a straight line; before the first and behind the last they rest."""
    labels = sorted({label for stage in stages for label in stage.shares})
    before = [stage for stage in stages if stage.at <= tokens] or [stages[0]]
    after = [stage for stage in stages if stage.at > tokens] or [stages[-1]]
    first, last = before[-1], after[0]
    way = (tokens - first.at) / (last.at - first.at) if last.at > first.at and tokens > first.at else 0.0
    begin, end = (with_floor(stage.shares, 0.0) for stage in (first, last))
    return {k: begin.get(k, 0.0) + way * (end.get(k, 0.0) - begin.get(k, 0.0)) for k in labels}
