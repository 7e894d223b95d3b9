"""How often does the watch on a source's text raise a false alarm, and how many documents does it need for a change?

Real text: the manual pages that Debian carries, in English, cut into paragraphs of half a kilobyte or more, and the
docstrings and notes of `real_text.py`. Documents are drawn with replacement, so that a source without a change is one
by construction; the rule itself is asked, window by window, as the planner asks it. In a changed source a tenth of the
documents (or all) come from elsewhere from some window on: German pages, Python's source, or the same paragraphs with
the letters of each word shuffled. Tokenised by a BPE that has seen the English pages only, as a store's would have.
"""

import gzip
import random
import re
import sysconfig
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from benchmarks.data.real_text import real_texts
from benchmarks.rows import Goal, Row
from data_ops.documents.tokenizer import Tokenizer, train_bpe
from data_ops.kernels.arrays import Ints, array_to_ids
from data_ops.rounds.draw import ties_of
from data_ops.steering.drift import WINDOWS, Watch, watch_windows

MANUALS = Path("/usr/share/man")
FEWEST, MOST, VOCABULARY = 300, 4000, 8192  # characters of a paragraph or of several; tokens
PAGES = 400  # of each kind that are read
BEFORE = 10_000  # documents that a source has had when it changes
SIZES = (50, 200, 1000)  # documents a window


class Bank(NamedTuple):
    """Documents to draw from: sizes in bytes and in tokens."""

    num_bytes: Ints
    num_tokens: Ints


def measure(quick: bool) -> list[Row]:
    """False alarms of sources that do not change, and documents until a change is seen."""
    english = list(_pages(MANUALS, "man[1-8]")) or real_texts(4000)
    tokenizer = train_bpe(english, VOCABULARY)
    banks = {
        "manual pages": _bank(english, tokenizer),
        "docstrings and notes": _bank([text[:MOST] for text in real_texts(6000)], tokenizer),
    }
    others = {
        "German": list(_pages(MANUALS, "de/man[1-8]")),
        "Python": list(_code()),
        "shuffled letters": [_shuffled(text, number) for number, text in enumerate(english[:3000])],
    }
    sizes, windows, series = (SIZES[1:2], 500, 1) if quick else (SIZES, WINDOWS, 1)
    rows = [_false_alarms(name, bank, size, windows, series) for name, bank in banks.items() for size in sizes]
    rows.append(_in_order(banks["manual pages"], sizes[0]))
    for name, texts in others.items():
        if texts:
            other, shares = _bank(texts, tokenizer), (0.1,) if quick else (0.1, 0.03, 1.0)
            cases = [(share, size) for share in shares for size in sizes]
            rows += [_delay(name, banks["manual pages"], other, *case, 2 if quick else 10) for case in cases]
    return rows


def _false_alarms(name: str, bank: Bank, size: int, windows: int, series: int) -> Row:
    counts = [sum(1 for _ in _alarms(lambda rng, _: _drawn(bank, size, rng), windows, n)) for n in range(series)]
    what = f"false alarms in {windows:,} windows of {size:,} documents, {name}"
    goal = Goal(windows / WINDOWS, at_least=False, of_ratio=False)
    return Row(what, "alarms", [float(n) for n in counts], goal=goal, note=f"{len(bank.num_bytes):,} texts")


def _in_order(bank: Bank, size: int) -> Row:
    """The pages as a listing gives them: not one source that stays as it is, but a page after the other."""
    windows = len(bank.num_bytes) // size
    parts = [Bank(*(one[size * n : size * (n + 1)] for one in bank)) for n in range(windows)]
    alarms = float(sum(1 for _ in _alarms(lambda _, window: parts[window], windows, 0)))
    what = f"alarms in {windows:,} windows of {size:,} documents, manual pages one after the other"
    return Row(what, "alarms", [alarms], note="No false ones: neighbours are of one page, and pages differ.")


def _delay(name: str, bank: Bank, other: Bank, share: float, size: int, series: int) -> Row:
    """Documents from the change to the end of the window that raises the alarm."""
    before = BEFORE // size

    def changing(rng: np.random.Generator, window: int) -> Bank:
        if window < before:
            return _drawn(bank, size, rng)
        strange = rng.random(size) < share
        drawn, strangers = _drawn(bank, size, rng), _drawn(other, size, rng)
        return Bank(*(np.where(strange, two, one) for one, two in zip(drawn, strangers, strict=True)))

    most = before + max(1, 20_000 // size)
    found = [next((at for at in _alarms(changing, most, n) if at >= before), most) for n in range(series)]
    documents = [float((at + 1 - before) * size) for at in found]
    what = f"documents until {share:.0%} {name} are seen, windows of {size:,}"
    goal = Goal(2000, at_least=False, of_ratio=False) if share >= 0.1 else None
    why = "Their bytes a token and their lengths are much like those of the pages; other figures would need the text."
    return Row(what, "documents", documents, goal=goal, why=why, note=f"{series} series, each looked at for 20,000")


def _alarms(drawn: Callable[[np.random.Generator, int], Bank], windows: int, seed: int) -> Iterator[int]:
    """The windows that raise an alarm."""
    rng, state = np.random.default_rng(seed), Watch()
    for window in range(windows):
        bank = drawn(rng, window)
        state = watch_windows(state, _log(bank, window, rng), window, ties_of(seed))
        if state.alarms:
            yield window


def _drawn(bank: Bank, size: int, rng: np.random.Generator) -> Bank:
    which = rng.integers(0, len(bank.num_bytes), size)
    return Bank(bank.num_bytes[which], bank.num_tokens[which])


def _log(bank: Bank, window: int, rng: np.random.Generator) -> pa.Table:
    size = len(bank.num_bytes)
    return pa.table(
        {
            "id": array_to_ids(rng.integers(0, 2**64, (size, 2), dtype=np.uint64)),
            "source": pa.array(["pages"] * size),
            "window": np.full(size, window),
            "num_tokens": bank.num_tokens,
            "num_bytes": bank.num_bytes,
        }
    )


def _bank(texts: Sequence[str], tokenizer: Tokenizer) -> Bank:
    lengths = [len(one) for one in tokenizer.encode(pa.array(texts)).to_pylist()]
    return Bank(np.array([len(text.encode()) for text in texts]), np.array(lengths))


def _pages(folder: Path, sections: str) -> Iterator[str]:
    """Paragraphs of manual pages, joined until they are long enough, without their typesetting."""
    paths = sorted(folder.glob(f"{sections}/*.gz"))
    for path in random.Random(0).sample(paths, min(PAGES, len(paths))):
        try:
            text = gzip.decompress(path.read_bytes()).decode()
        except (OSError, UnicodeDecodeError, EOFError):
            continue
        lines = [re.sub(r"\\\(?f?.", "", re.sub(r"^\.\w+ ?", "", line)) for line in text.splitlines()]
        yield from _pieces("\n".join(line for line in lines if line and not line.startswith(("'", '\\"'))).split("\n"))


def _code() -> Iterator[str]:
    for path in sorted(Path(sysconfig.get_path("stdlib")).glob("*.py")):
        yield from _pieces(path.read_text(encoding="utf-8", errors="ignore").splitlines())


def _pieces(lines: Sequence[str]) -> Iterator[str]:
    """Stretches of lines of at least FEWEST characters."""
    piece = ""
    for line in lines:
        piece += line + "\n"
        if len(piece) >= FEWEST:
            yield piece[:MOST]
            piece = ""


def _shuffled(text: str, seed: int) -> str:
    rng = random.Random(seed)
    return re.sub(r"[A-Za-z]+", lambda word: "".join(rng.sample(word[0], len(word[0]))), text)
