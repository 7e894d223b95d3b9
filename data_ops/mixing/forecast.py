"""How long does the text that waits last, source by source, when nothing arrives? The mixture is played through."""

from collections.abc import Mapping
from typing import NamedTuple

from data_ops.mixing.config import MixtureConfig
from data_ops.mixing.shares import shares_at, with_floor

STEPS = 2000  # into which the text that waits is cut: its end is told within a thousandth or two


class Lasting(NamedTuple):
    """What is left of a source, and until when."""

    waiting: int  # positions
    share: float | None  # of the fresh tokens now; None where the order of documents decides
    until: int | None  # trained tokens, fresh and replayed, at which nothing is left; None: it is not trained


def forecast(
    mixture: MixtureConfig, waiting: Mapping[str, int], trained: int, replay_share: float
) -> dict[str, Lasting]:
    """Play the mixture on from `trained` tokens; waiting: positions of every source, by label.

    >>> found = forecast(MixtureConfig(shares={"a": 3, "b": 1}), {"a": 300, "b": 300}, 1000, 0.5)
    >>> found["a"], found["b"]
    (Lasting(waiting=300, share=0.75, until=1800), Lasting(waiting=300, share=0.25, until=2200))
    """
    left = {label: float(count) for label, count in waiting.items()}
    total, fresh, ends = sum(waiting.values()), 0.0, dict[str, int]()
    now = _shares(mixture, trained, left)
    for _ in range(4 * STEPS):
        shares = _shares(mixture, trained + int(fresh / (1 - replay_share)), left)
        if not shares:
            break
        step = min([total / STEPS, *(left[label] / share for label, share in shares.items())])
        fresh += step
        for label, share in shares.items():
            left[label] -= step * share
            if left[label] < 1e-6 * total:
                left[label] = 0.0
                ends[label] = trained + round(fresh / (1 - replay_share))
    by_share = mixture.kind in ("shares", "proportional")
    return {k: Lasting(n, now.get(k, 0.0) if by_share else None, ends.get(k)) for k, n in sorted(waiting.items())}


def _shares(mixture: MixtureConfig, tokens: int, left: Mapping[str, float]) -> dict[str, float]:
    """Shares of the sources that have something left; where order decides, in proportion to it."""
    stated = shares_at(mixture, tokens)
    if stated is not None:
        return with_floor({label: share for label, share in stated.items() if left.get(label, 0.0) > 0}, 0.0)
    idle = {*mixture.paused, *mixture.removed}
    return with_floor({k: count for k, count in left.items() if count > 0 and k not in idle}, mixture.floor)
