"""Which documents of which source are in the next round, and from how much of the log is that decided?

The log is looked at window by window, and the round is cut at the first window at which no source that has more to
come was used up. So it does not matter how far ingest is by the time the planner looks: the same log gives the same
rounds. A source without a document in that window is dry for now, and the others take its part; so is every source once
ingest has said that nothing further comes, or once a round has waited too long.
"""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from data_ops.kernels.arrays import Ints
from data_ops.mixing.config import MixtureConfig
from data_ops.mixing.fair_order import Waiting, in_shares, in_time, owed
from data_ops.mixing.shares import shares_at, with_floor
from data_ops.steering.drift import Watch
from data_ops.steering.repeats import Repeats


class Before(NamedTuple):
    """What the rounds before have left behind: tokens owed by source, positions planned, the last window looked at,
    what was replayed how often, where that has a limit, and what the sources' text is like, where it is watched.
    """

    credits: Mapping[str, float] = {}
    tokens: int = 0
    window: int = -1
    repeats: Repeats | None = None
    watch: Watch | None = None


class Looked(NamedTuple):
    """What can be seen of the log now.

    log: documents that wait, in order (id, source, window, position, num_tokens, event_time; num_bytes where the text
    is watched). drained: nothing comes behind last_window. is_late: whether the round has waited too long, asked only
    where it matters, with whether any document waits.
    """

    log: pa.Table
    last_window: int
    drained: bool
    is_late: Callable[[bool], bool] = lambda has_fresh: False


class MixedCut(NamedTuple):
    """A round that can be cut: rows of the log that it trains and sheds, and by which figures."""

    closed: str
    window: int  # up to which the log was looked at
    taken: Ints
    shed: Ints
    shares: dict[str, float]
    credits: dict[str, float]
    tokens: dict[str, int]  # positions by source
    dry: tuple[str, ...]  # sources that had less than their share, while others gave more


def cut_mixed(mixture: MixtureConfig, before: Before, looked: Looked, budget: int) -> MixedCut | None:
    """Cut a round of `budget` fresh positions; None: wait for more. A turn that takes nothing says why: see `closed`.

    closed: tokens | drained | seconds, as for every round; starved: nothing is fresh, and it has waited too long;
    end: nothing is left, and nothing comes.
    """
    desk = _Desk(mixture, before, looked.log, budget)
    for window in desk.windows():
        turn = desk.turn(window, "tokens")
        used_up = set(desk.labels) - set(desk.left(turn))
        if mixture.kind == "log" or not used_up & desk.sources_in(window):
            return turn
    has_fresh, last = desk.has_fresh, looked.last_window
    if looked.drained:
        closed = ("tokens" if desk.total > budget else "drained") if has_fresh else "end"
    elif looked.is_late(has_fresh):
        closed = "seconds" if has_fresh else "starved"
    else:
        return None
    return desk.turn(max(last, before.window), closed)


class _Desk:
    """The documents that may come next, and what was asked of them so far."""

    def __init__(self, mixture: MixtureConfig, before: Before, log: pa.Table, budget: int) -> None:
        self.mixture, self.before, self.budget = mixture, before, budget
        self.stated = shares_at(mixture, before.tokens)
        names = log["source"].combine_chunks().dictionary_encode()
        there, codes = names.dictionary.to_pylist(), names.indices.to_numpy()
        self.labels = sorted(label for label in there if self._may_come(label))
        number = {label: n for n, label in enumerate(self.labels)}
        sources = np.array([number.get(label, -1) for label in there], np.int64)[codes] if there else codes
        self.rows = np.flatnonzero(sources >= 0)
        gone = np.isin(np.array(there, dtype=object)[codes], mixture.removed) if there else np.zeros(0, np.bool_)
        self.gone = np.flatnonzero(gone)
        self.log_windows = log["window"].to_numpy()
        times = log["event_time"].cast(pa.int64()).to_numpy()[self.rows] * 1e-6
        lengths = log["num_tokens"].to_numpy()[self.rows].astype(np.int64) + 1
        self.waiting = Waiting(self.labels, sources[self.rows].astype(np.int64), lengths, times)
        self.at = self.log_windows[self.rows]
        self.ends = np.cumsum(lengths)

    @property
    def has_fresh(self) -> bool:
        """Whether any document may be trained."""
        return len(self.rows) > 0

    @property
    def total(self) -> int:
        """Positions that wait."""
        return int(self.ends[-1]) if self.has_fresh else 0

    def windows(self) -> list[int]:
        """The windows at which the round may be cut: there is enough, and no round looked further before."""
        enough = np.flatnonzero(self.ends > self.budget)
        if not len(enough):
            return []
        first = max(int(self.at[enough[0]]), self.before.window)
        found: list[int] = np.unique(self.at[self.at >= first]).tolist()
        return found if (found and found[0] == first) or self.before.window < first else [first, *found]

    def sources_in(self, window: int) -> set[str]:
        """Labels with documents in a window; in one that is done with there are none."""
        return {self.labels[n] for n in np.unique(self.waiting.sources[self.at == window]).tolist()}

    def left(self, turn: MixedCut) -> list[str]:
        """Labels of which documents up to the turn's window stay behind."""
        upto = self.waiting.tokens(slice(0, int(np.searchsorted(self.at, turn.window, side="right"))))
        return [label for label in self.labels if upto.get(label, 0) > turn.tokens.get(label, 0)]

    def turn(self, window: int, closed: str) -> MixedCut:
        """The round as it is cut when the log is looked at up to a window."""
        count = int(np.searchsorted(self.at, window, side="right"))
        known = self.waiting.first(count)
        shares = self._shares(known)
        order = self._order(known, shares)
        within = int(np.searchsorted(np.cumsum(known.lengths[order]), self.budget, side="right"))
        taken = np.sort(order[: max(1, within)])
        tokens, waits = known.tokens(taken), known.tokens()
        used_up = [label for label in shares if waits.get(label, 0) == tokens.get(label, 0)]
        dry = tuple(used_up) if len(used_up) < len(shares) else ()
        credits = owed(shares, self.before.credits, tokens, used_up)
        shed = self.gone[self.log_windows[self.gone] <= window]
        return MixedCut(closed, window, self.rows[taken], shed, shares, credits, tokens, dry)

    def _may_come(self, label: str) -> bool:
        if self.stated is not None:
            return label in self.stated
        return label not in self.mixture.paused and label not in self.mixture.removed

    def _shares(self, known: Waiting) -> dict[str, float]:
        """The shares in force; {} where the order of documents decides."""
        if self.stated is not None:
            return self.stated
        if self.mixture.kind != "proportional":
            return {}
        return with_floor({k: float(n) for k, n in known.tokens().items()}, self.mixture.floor)

    def _order(self, known: Waiting, shares: Mapping[str, float]) -> Ints:
        if shares:
            return in_shares(known, shares, self.before.credits)
        return in_time(known) if self.mixture.kind == "by_time" else np.arange(len(known.lengths))
