"""How fast are the rules for web pages, and do they decide as datatrove's filters do?

Real texts, normalised. datatrove splits words and sentences here as we do (`str.split`, and sentence marks), so that
only the filters are compared; with its own tokenisers it is slower. Both take their turn on the same texts, three
times; processor time is counted. Without datatrove (requirements-datatrove.txt) there is nothing to compare with.
"""

import importlib
import re
import time
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import pyarrow as pa

from benchmarks.data.real_text import real_texts
from benchmarks.rows import Goal, Row, paired
from data_ops.curation.config import RULES
from data_ops.curation.rules.c4 import SENTENCE_END
from data_ops.curation.rules.rule import Texts
from data_ops.kernels.normalise import normalise

PEERS = {
    "gopher_quality": ("gopher_quality_filter", "GopherQualityFilter"),
    "gopher_repetition": ("gopher_repetition_filter", "GopherRepetitionFilter"),
    "fineweb_quality": ("fineweb_quality_filter", "FineWebQualityFilter"),
    "c4": ("c4_filters", "C4QualityFilter"),
}
REPEATS = 3


class Turn(NamedTuple):
    """One pass over all texts: processor seconds, which texts go, and how the others read."""

    seconds: float
    drop: list[bool]
    text: list[str]


def measure(quick: bool) -> list[Row]:
    """A line a rule, and one of the whole chain."""
    plain = normalise(pa.array(real_texts(500 if quick else 20_000), pa.string()))
    plain = plain.filter(pa.compute.greater(pa.compute.binary_length(plain), 0))
    size = sum(map(len, map(str.encode, plain.to_pylist()))) / 1e6
    rows, totals = [], []
    peers = {name: _peer(name) for name in PEERS}
    _ours(plain[:9], PEERS)  # compiled before the clock runs
    for name, peer in peers.items():
        ours, theirs = [], []
        for _ in range(REPEATS):
            mine = _ours(plain, [name])[name]
            ours.append(size / mine.seconds)
            if peer is not None:
                other = _theirs(peer, plain)
                theirs.append(size / other.seconds)
        note = f"{len(plain):,} texts, {size:.0f} MB" + (f"; {_agreement(mine, other)}" if peer is not None else "")
        rows.append(Row(f"rule {name}", "MB/s/core", ours, *_against(ours, theirs), note=note))
        totals.append(theirs)
    together = [size / sum(turn.seconds for turn in _ours(plain, PEERS).values()) for _ in range(REPEATS)]
    slowest = [1 / sum(1 / speed for speed in speeds) for speeds in zip(*totals, strict=True)]
    goal, why = (Goal(10) if slowest else None), "runs of words take most of it"
    note = "figures that several rules ask for are counted once"
    what = "all four rules, each on every text"
    return [*rows, Row(what, "MB/s/core", together, *_against(together, slowest), goal, why=why, note=note)]


def _against(ours: list[float], theirs: list[float]) -> tuple[str, list[float], list[float]]:
    return ("datatrove, words by str.split", theirs, paired(ours, theirs)) if theirs else ("", [], [])


def _agreement(mine: Turn, other: Turn) -> str:
    """Which share of the decisions is equal, and of the texts that both keep."""
    both = list(zip(mine.drop, other.drop, mine.text, other.text, strict=True))
    equal = sum(a == b for a, b, _, _ in both) / len(both)
    kept = [(ours, theirs) for a, b, ours, theirs in both if not a and not b]
    same = sum(ours == theirs for ours, theirs in kept) / max(len(kept), 1)
    return (
        f"{equal:.2%} of the decisions are equal, {sum(mine.drop) / len(both):.0%} drop; {same:.2%} of the kept texts"
    )


def _ours(plain: pa.Array, names: Iterable[str]) -> dict[str, Turn]:
    """One pass of some rules over the same texts, each over all of them."""
    texts, found = Texts(plain, plain, plain, plain, plain), {}
    for name in names:
        began = time.process_time()
        verdict = RULES[name]().judge(texts)
        seconds = time.process_time() - began
        text = plain if verdict.text is None else verdict.text
        found[name] = Turn(seconds, verdict.drop.tolist(), text.to_pylist())
    return found


def _theirs(keeps: Callable[[str], tuple[bool, str]], plain: pa.Array) -> Turn:
    texts = plain.to_pylist()
    began = time.process_time()
    found = [keeps(text) for text in texts]
    return Turn(time.process_time() - began, [not kept for kept, _ in found], [text for _, text in found])


def _peer(name: str) -> Callable[[str], tuple[bool, str]] | None:
    """The filter of datatrove, with our way to split; None where it is not installed."""
    module, of_class = PEERS[name]
    try:
        filters: Any = importlib.import_module(f"datatrove.pipeline.filters.{module}")
        document: Any = importlib.import_module("datatrove.data").Document
    except ImportError:
        return None
    ends = re.compile(SENTENCE_END.replace("(", "(?:"))
    filters.split_into_words = lambda text, *_: text.split()
    filters.split_into_sentences = lambda text, *_: ends.findall(text)
    judge = getattr(filters, of_class)()

    def keeps(text: str) -> tuple[bool, str]:
        given = document(text=text, id="")
        return judge.filter(given) is True, given.text

    return keeps
