"""What is read, when does it grow, when is it killed, and what counts as a difference? The same for every loader.

Real text (the documentation topics that every Python carries) in two sources, with exact duplicates and texts that are
too short in between. A chain of four attempts at worlds A, B, A, B is killed three times; before a resume the sources
may have grown. What was trained behind the last commit before a kill is discarded; the rest, global batch by global
batch, is compared with an undisturbed run by `compare`. Standard library alone: every environment can import it.
"""

import json
from collections import Counter
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from pydoc_data.topics import topics  # type: ignore[import-not-found, unused-ignore]
from random import Random

SEED = 7
WORLDS = {"same (2)": (2, 2), "1 → 2": (1, 2), "2 → 1": (2, 1), "2 → 4": (2, 4), "4 → 1": (4, 1)}
RESUMES = ("first", "second", "third")
STAGES = (0, 1, 2, 3)
SHORT = "ok {}"  # below the 20 characters that the filter asks for
BATCH_DOCUMENTS = 16  # a global batch of the loaders that count documents
FIRST_DOCUMENTS, GROWN_DOCUMENTS = 384, 48  # to be trained at the start and of each growth; whole batches of both
EXTRA = 0.05  # duplicates, and as many short ones, in proportion to these

SIZES = {"a": 288, "b": 96}  # documents of each source, where the mixture of a run is changed
CHANGES: dict[str, tuple[dict[str, float], tuple[str, ...]]] = {  # the shares before, and what is typed
    "reweight": ({"a": 1, "b": 1}, ("set", "a=3", "b=1")),
    "pause": ({"a": 1, "b": 1}, ("pause", "b")),
    "add": ({"a": 1}, ("add", "b=0.4")),
    "remove": ({"a": 1, "b": 1}, ("remove", "b")),
    "schedule": ({"a": 1, "b": 1}, ("schedule", "20k:a=1,b=1", "90k:a=9,b=1")),
}
CHANGED_WORLDS = (1, 2)

Batch = Sequence[Hashable]


@dataclass(frozen=True)
class Delivery:
    """Lines that arrive together at the end of one file of one source; `trained`: those that must be trained."""

    source: str
    file: str
    lines: tuple[str, ...]
    trained: tuple[str, ...]

    def append_to(self, folder: Path) -> None:
        """Write the lines where the source reads them."""
        path = folder / self.source / self.file
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a", encoding="utf-8") as file:
            file.writelines(f"{line}\n" for line in self.lines)


@dataclass(frozen=True)
class Corpus:
    """What is there at the start, and what has arrived before each of the three resumes."""

    first: tuple[Delivery, ...]
    growth: tuple[tuple[Delivery, ...], ...]

    @property
    def deliveries(self) -> tuple[Delivery, ...]:
        """All of it, in the order of arrival."""
        return (*self.first, *(delivery for grown in self.growth for delivery in grown))


def corpora(seed: int = SEED) -> dict[str, Corpus]:
    """The three corpora: unchanged, grown once, grown three times in two sources."""
    make = Maker(seed)
    half, grown = FIRST_DOCUMENTS // 2, GROWN_DOCUMENTS
    first = (make.delivery("a", "0.jsonl", half), make.delivery("b", "0.jsonl", half))
    appended = make.delivery("a", "0.jsonl", grown)  # lines behind those that were read
    new_file = make.delivery("b", "1.jsonl", grown)  # a file that was not there
    both = (make.delivery("a", "1.jsonl", grown // 2), make.delivery("b", "1.jsonl", grown // 2))
    return {
        "unchanged": Corpus(first, ((), (), ())),
        "grown once": Corpus(first, ((appended,), (), ())),
        "grown three times, in two sources": Corpus(first, ((appended,), (new_file,), both)),
    }


def mixed(seed: int = SEED) -> Corpus:
    """Two sources of unequal size, all there from the start, for changes of their mixture."""
    make = Maker(seed)
    return Corpus(tuple(make.delivery(source, "0.jsonl", count) for source, count in SIZES.items()), ())


class Maker:
    """Hands out paragraphs, each once, and repeats some of those that it handed out before."""

    def __init__(self, seed: int) -> None:
        self.random = Random(seed)
        self.fresh = paragraphs()
        self.random.shuffle(self.fresh)
        self.given: list[str] = []
        self.count = 0

    def delivery(self, source: str, file: str, num_trained: int) -> Delivery:
        """Make a delivery of `num_trained` new paragraphs, and duplicates and short texts among them."""
        trained = [self.fresh.pop() for _ in range(num_trained)]
        extra = max(1, round(EXTRA * num_trained))
        short = [SHORT.format(self.count + n) for n in range(extra)]
        mixed = trained + short
        self.random.shuffle(mixed)
        for _ in range(extra):  # a copy stands behind its original, be it in this delivery, or in any before it
            text = self.random.choice(self.given + trained)
            mixed.insert(self.random.randint(mixed.index(text) + 1 if text in mixed else 0, len(mixed)), text)
        self.given += trained
        return Delivery(source, file, tuple(self._line(text) for text in mixed), tuple(t for t in trained))

    def _line(self, text: str) -> str:
        self.count += 1
        at = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(hours=self.count)
        return json.dumps({"text": text, "at": at.isoformat()})


def paragraphs() -> list[str]:
    """Different paragraphs of plain prose, in one line of ASCII each."""
    found: dict[str, None] = {}
    for name in sorted(topics):
        for paragraph in topics[name].split("\n\n"):
            text = " ".join(paragraph.split())
            letters = sum(c.isalpha() for c in text)
            if text.isascii() and 60 <= len(text) <= 900 and letters > 0.7 * len(text):
                found[text] = None
    return list(found)


@dataclass(frozen=True)
class Attempt:
    """One life of the ranks: the global step it started from, and the global batches it trained from there."""

    start: int
    batches: tuple[Batch, ...]


def consumed(attempts: Sequence[Attempt]) -> list[Batch]:
    """What is in the weights at last: each attempt discards what those before it did behind its start."""
    line: list[Batch] = []
    for attempt in attempts:
        if attempt.start > len(line):
            raise ValueError(f"an attempt starts at step {attempt.start}, but only {len(line)} were trained before it")
        line[attempt.start :] = attempt.batches
    return line


@dataclass(frozen=True)
class Difference:
    """How global batches differ from those of an undisturbed run; all zero when they hold the same, one by one."""

    lost: int = 0  # trained too seldom, of what was there at the start
    unseen: int = 0  # trained too seldom, of what was appended
    repeated: int = 0  # trained too often
    reordered: int = 0  # global batches that hold something else than the same batch of the undisturbed run

    @property
    def exact(self) -> bool:
        """Is there none?"""
        return self == Difference()

    def __str__(self) -> str:
        counts = f"L{self.lost} N{self.unseen} R{self.repeated} O{self.reordered}"
        return "exact" if self.exact else counts


def compare(got: Sequence[Batch], undisturbed: Sequence[Batch], appended: frozenset[Hashable]) -> Difference:
    """Compare global batches, as multisets each: which rank holds a document is the loader's own affair."""
    counts, expected = (Counter(unit for batch in batches for unit in batch) for batches in (got, undisturbed))
    missing, surplus = expected - counts, counts - expected
    unseen = sum(n for unit, n in missing.items() if unit in appended)
    same = sum(Counter(a) == Counter(b) for a, b in zip(got, undisturbed, strict=False))
    return Difference(missing.total() - unseen, unseen, surplus.total(), max(len(got), len(undisturbed)) - same)
