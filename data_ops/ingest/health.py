"""Does a source give what its configuration promises: records that can be read, and times that are understood?

A wrong column name, or a format that nobody reads, quarantines record after record and yet looks like success. So who
gives mostly quarantine, from the first or of late, is named with reasons and a sample, at once and again whenever it is
ten times as much; so are times that were not taken as they are, at the end too.
"""

from collections import Counter
from dataclasses import dataclass, field

import pyarrow as pa
import pyarrow.compute as pc

MOST = 0.5  # of what is read
RECENT, FEW = 100, 10  # records that are looked back on at least, and bad ones among them that say nothing yet
GOOD = "good"
NOTES = {"missing": "missing", "not_understood": "not understood", "clamped": "before 1970 or after the arrival"}


@dataclass
class SourceHealth:
    """What the sources have given since this ingest began.

    timed: labels of the sources whose records are said to have a time.
    """

    timed: frozenset[str]
    read: Counter[str] = field(default_factory=Counter)
    reasons: dict[str, Counter[str]] = field(default_factory=dict)
    notes: dict[str, Counter[str]] = field(default_factory=dict)
    told: dict[tuple[str, str], int] = field(default_factory=dict)  # how many had been there when they were told
    recent: dict[str, Counter[str]] = field(default_factory=dict)  # read, and reasons, of the last records of a source

    def take(self, documents: pa.Table) -> list[str]:
        """Count a window's rows; return the sentences that are due."""
        for name, bag in (("reason", self.reasons), ("time_note", self.notes)):
            chosen = documents.filter(pc.equal(documents["fate"], "quarantined")) if name == "reason" else documents
            for row in chosen.group_by(["source", name]).aggregate([([], "count_all")]).to_pylist():
                if row[name] is not None:
                    bag.setdefault(row["source"], Counter())[row[name]] += row["count_all"]
        for row in pc.value_counts(documents["source"]).to_pylist():
            self.read[row["values"]] += row["counts"]
        self._look_back(documents)
        return [*self._quarantined(documents), *self._times(factor=10)]

    def sum(self) -> list[str]:
        """Return what was not told in full."""
        return self._times(factor=1)

    def _look_back(self, documents: pa.Table) -> None:
        """Keep the reasons of the last records, so that a good past does not hide a source that has become bad."""
        stretch = {label: recent for label, recent in self.recent.items() if recent.total() < RECENT}
        for row in documents.group_by(["source", "fate", "reason"]).aggregate([([], "count_all")]).to_pylist():
            recent = stretch.setdefault(row["source"], Counter())
            recent[row["reason"] if row["fate"] == "quarantined" else GOOD] += row["count_all"]
        self.recent |= stretch

    def _quarantined(self, documents: pa.Table) -> list[str]:
        sentences = []
        for label in sorted(self.reasons):
            share, reasons = self._mostly(label)
            if not share:
                continue
            here = pc.and_(pc.equal(documents["source"], label), pc.equal(documents["fate"], "quarantined"))
            bad = documents.filter(here)
            row = (bad.slice(0, 1).select(["partition", "offset", "reason", "text"]).to_pylist() or [None])[0]
            sample = f", for example {row['partition']} record {row['offset']}: {row['text']}" if row else ""
            named = ", ".join(f"{reason.replace('_', ' ')} {count}" for reason, count in reasons.most_common(3))
            sentences.append(
                f"source {label}: {share} records cannot be read and are quarantined ({named}){sample}; "
                f"check the keys of sources.{label} (path, format, text)"
            )
        return sentences

    def _mostly(self, label: str) -> tuple[str, Counter[str]]:
        """Say how many of all records, else of the last, are bad, and why; "" where they are few or it was said."""
        reasons, recent = self.reasons[label], self.recent.get(label, Counter())
        last = recent.total()
        bad, total = last - recent[GOOD], reasons.total()
        if total > MOST * self.read[label]:
            is_due = self._is_due((label, ""), total, 10)
            return (f"{total} of {self.read[label]}" if is_due else ""), reasons
        if bad > max(MOST * last, FEW) and self._is_due((label, "recent"), total, 10):
            return f"{bad} of its last {last}", Counter({why: n for why, n in recent.items() if why != GOOD})
        return "", reasons

    def _times(self, factor: int) -> list[str]:
        sentences = []
        for label in sorted(self.timed & self.notes.keys()):
            total = self.notes[label].total()
            if self._is_due((label, "times"), total, factor):
                named = ", ".join(
                    f"{self.notes[label][note]} {said}" for note, said in NOTES.items() if self.notes[label][note]
                )
                sentences.append(
                    f"source {label}: of {self.read[label]} records {total} had no time that could be taken as it is "
                    f"({named}); a missing one becomes its file's, check sources.{label}.time"
                )
        return sentences

    def _is_due(self, what: tuple[str, str], total: int, factor: int) -> bool:
        told = self.told.get(what, 0)
        if total <= told or (told and total < factor * told):
            return False
        self.told[what] = total
        return True
