"""Has the text of a source changed? A test that raises a false alarm at most once in 10,000 windows, whatever the text.

Each document is ranked, by two figures that the lake has, among all documents of its source before it; a hash of its id
breaks ties. While a source is what it was, so that its documents might have come in any order, the ranks are
independent and uniform (Vovk, Nouretdinov and Gammerman 2003, "Testing exchangeability on-line"), and a bet on where
they fall wins nothing on average. The bets of a window are one step of a Shiryaev-Roberts sum; it reaches a level of
10,000 once in 10,000 steps at most (Shin, Ramdas and Rinaldo 2022, "E-detectors"). Nothing is estimated or tuned. An
alarm forgets the source's past: it is compared with what comes from then on. All of it is a function of the log.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import msgspec
import numpy as np
import pyarrow as pa

from data_ops.kernels.arrays import Floats, Ids, Ints, Words, ids_to_array

WINDOWS = 10_000  # at most one false alarm in so many, over all sources together
FIGURES = ("bytes a token", "bytes")
BINS, CELLS, GROUPS = 64, 32, 8  # of a figure, of ranks, and of ranks where people are told how far they moved
EDGES = {
    "bytes a token": np.array([2.0 ** (k / 16) for k in range(1, BINS)]),  # 1 to 16
    "bytes": np.array([2.0 ** (3 + k / 4) for k in range(1, BINS)]),  # 8 to 512 Ki
}
TAILS, INNER, GAINS = (1, 4, 8, 16), 4, (0.03, 0.1, 0.3)
AT_ONCE = 4096  # documents whose ranks are computed together
MOST = 1e300
Ties = Callable[[Ids, int], Words]  # a uniform word of each id, another one for each figure


class Bet(NamedTuple):
    """That a share `gain` of the documents has moved into the cells [low, high) of ranks."""

    low: int
    high: int
    gain: float


def _bets() -> list[Bet]:
    bands = [(0, width) for width in TAILS] + [(CELLS - width, CELLS) for width in TAILS]
    bands += [(low, low + INNER) for low in range(INNER, CELLS - INNER, INNER)]
    return [Bet(low, high, gain) for low, high in bands for gain in GAINS]


BETS = _bets()
_cells = np.arange(CELLS)
LOG_PAYS = np.array(
    [np.log(1 - b.gain + b.gain * CELLS / (b.high - b.low) * ((_cells >= b.low) & (_cells < b.high))) for b in BETS]
)


@dataclass(frozen=True)
class Alarm:
    """A source's text has changed, as a window shows. low, high: between which ranks, in [0, 1], more documents lie
    than did; share: of the window's documents there.
    """

    source: str
    window: int
    figure: str
    low: float
    high: float
    share: float
    documents: int

    @property
    def words(self) -> str:
        """For people."""
        where = f"lowest {self.high:.0%}" if self.low == 0 else f"highest {1 - self.low:.0%}"
        if self.low > 0 and self.high < 1:
            where = f"{self.high - self.low:.0%} from rank {self.low:.0%} on"
        return (
            f"the text of {self.source} has changed: of {self.documents:,} documents in window {self.window} "
            f"{self.share:.0%} are among what was the {where} in {self.figure}"
        )


@dataclass(frozen=True)
class Watched:
    """What is known of a source. counts: documents by figure and bin since its last alarm; evidence: by figure and bet;
    psi, jsd: how far the ranks of the last windows are from uniform, by figure.
    """

    counts: Mapping[str, Sequence[int]] = field(default_factory=lambda: dict.fromkeys(FIGURES, (0,) * BINS))
    evidence: Mapping[str, Sequence[float]] = field(default_factory=lambda: dict.fromkeys(FIGURES, (0.0,) * len(BETS)))
    psi: Mapping[str, float] = field(default_factory=dict)
    jsd: Mapping[str, float] = field(default_factory=dict)

    @property
    def level(self) -> float:
        """The evidence for a change; while there is none its mean grows by one a window."""
        return float(np.mean([self.evidence[figure] for figure in FIGURES]))


@dataclass(frozen=True)
class Watch:
    """What is known up to a window. alarms: those that the windows of this round raised; raised: how many ever."""

    window: int = -1
    sources: Mapping[str, Watched] = field(default_factory=dict)
    alarms: Sequence[Alarm] = ()
    raised: int = 0

    @property
    def psi(self) -> dict[str, float]:
        """How far the last documents of each source are from those before them, in the figure that moved most."""
        return {label: max(one.psi.values()) for label, one in self.sources.items() if one.psi}

    @staticmethod
    def read(plain: object) -> "Watch":
        """Read what JSON has made of one."""
        return msgspec.convert(plain, Watch)


def watch_windows(before: Watch, log: pa.Table, upto: int, ties: Ties) -> Watch:
    """Take in the documents of the windows behind `before` up to one (id, source, window, num_tokens, num_bytes)."""
    sources, alarms = dict(before.sources), list[Alarm]()
    moved: dict[str, dict[str, Ints]] = {}
    for label, window, rows in _parts(log, before.window, upto):
        old = sources.get(label, Watched())
        bins, uniform = _bins(rows), _uniform(rows, ties)
        cells = {figure: _ranked(np.array(old.counts[figure]), bins[figure], uniform[figure]) for figure in FIGURES}
        sources[label] = _stepped(old, bins, cells)
        for figure in FIGURES:
            all_cells = moved.setdefault(label, {figure: np.zeros(CELLS, np.int64) for figure in FIGURES})
            all_cells[figure] += cells[figure]
        if sources[label].level >= WINDOWS * len(sources):
            alarms.append(_alarm(label, window, sources[label], cells))
            sources[label] = Watched()
    for label, total in moved.items():
        told = {figure: _distances(total[figure]) for figure in FIGURES}
        psi, jsd = ({figure: round(told[figure][n], 4) for figure in FIGURES} for n in (0, 1))
        sources[label] = replace(sources[label], psi=psi, jsd=jsd)
    return Watch(
        max(upto, before.window),
        {label: sources[label] for label in sorted(sources)},
        alarms,
        before.raised + len(alarms),
    )


def _parts(log: pa.Table, behind: int, upto: int) -> Iterator[tuple[str, int, pa.Table]]:
    """The documents of each window and source, in the order of the log."""
    windows = log["window"].to_numpy()
    log = log.filter(pa.array((windows > behind) & (windows <= upto)))
    if not log.num_rows:
        return
    windows, names = log["window"].to_numpy(), log["source"].combine_chunks().dictionary_encode()
    codes, labels = names.indices.to_numpy(), names.dictionary.to_pylist()
    for window in np.unique(windows).tolist():
        here = windows == window
        for code in sorted(np.unique(codes[here]).tolist(), key=lambda code: str(labels[code])):
            yield labels[code], window, log.filter(pa.array(here & (codes == code)))


def _bins(rows: pa.Table) -> dict[str, Ints]:
    size, tokens = (rows[name].to_numpy().astype(np.float64) for name in ("num_bytes", "num_tokens"))
    values = {"bytes a token": size / np.maximum(tokens, 1.0), "bytes": size}
    return {figure: np.searchsorted(EDGES[figure], values[figure], side="right") for figure in FIGURES}


def _uniform(rows: pa.Table, ties: Ties) -> dict[str, Floats]:
    """What breaks ties, in [0, 1), by figure."""
    ids = ids_to_array(rows["id"].combine_chunks())
    words = {figure: ties(ids, n) >> np.uint64(11) for n, figure in enumerate(FIGURES)}
    return {figure: one.astype(np.float64) * 2.0**-53 for figure, one in words.items()}


def _ranked(counts: Ints, bins: Ints, ties: Floats) -> Ints:
    """In how many documents the rank among those before falls into each cell: int64[CELLS]. counts: those before."""
    cells = np.zeros(CELLS, np.int64)
    for first in range(0, len(bins), AT_ONCE):
        here = bins[first : first + AT_ONCE]
        rows = np.arange(len(here))
        one = np.zeros((len(here), BINS), np.int64)
        one[rows, here] = 1
        seen = counts + np.cumsum(one, axis=0) - one  # by bin, before each document
        below = np.cumsum(seen, axis=1)[rows, here] - seen[rows, here]
        ranks = (below + ties[first : first + AT_ONCE] * (seen[rows, here] + 1)) / (seen.sum(axis=1) + 1)
        cells += np.bincount(np.minimum((ranks * CELLS).astype(np.int64), CELLS - 1), minlength=CELLS)
        counts = counts + one.sum(axis=0)
    return cells


def _stepped(old: Watched, bins: Mapping[str, Ints], cells: Mapping[str, Ints]) -> Watched:
    """One step of every sum: what a window's bets have made of all that was staked so far, and of one more."""
    counts, evidence = {}, {}
    for figure in FIGURES:
        counts[figure] = (np.array(old.counts[figure]) + np.bincount(bins[figure], minlength=BINS)).tolist()
        pays = np.exp(np.minimum((LOG_PAYS * cells[figure]).sum(axis=1), 600.0))
        sums = np.minimum(pays * (1.0 + np.array(old.evidence[figure])), MOST)
        evidence[figure] = [float(f"{value * (1 - 1e-5):.5g}") for value in sums.tolist()]  # never more than it is
    return replace(old, counts=counts, evidence=evidence)


def _alarm(label: str, window: int, found: Watched, cells: Mapping[str, Ints]) -> Alarm:
    figure = max(FIGURES, key=lambda one: max(found.evidence[one]))
    bet, here = BETS[int(np.argmax(found.evidence[figure]))], cells[figure]
    share = round(float(here[bet.low : bet.high].sum() / here.sum()), 4)
    return Alarm(label, window, figure, bet.low / CELLS, bet.high / CELLS, share, int(here.sum()))


def _distances(cells: Ints) -> tuple[float, float]:
    """The population stability index (nats) and the Jensen-Shannon divergence (bits) of ranks from uniform."""
    groups = cells.reshape(GROUPS, -1).sum(axis=1) + 0.5
    share, even = groups / groups.sum(), 1 / GROUPS
    middle = (share + even) / 2
    psi = float(((share - even) * np.log(share / even)).sum())
    return psi, float((share * np.log2(share / middle) + even * np.log2(even / middle)).sum() / 2)
