"""What have the sources shown that is in no window, by the last look at each?

One small JSON file a source, `untaken/<label>.json`, written before a window is planned and when an ingest ends, so
that `verify` can tell it from the store alone. It holds counts by state and reason, and the first partitions by name.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from cluster.readable import many, size, visible
from cluster.storage.store import Store
from data_ops.sources.protocol import Untaken

FOLDER, FORMAT, MOST_NAMED = "untaken", 1, 100
MEANINGS = {
    "waiting": "read as soon as the writer goes on",
    "unreadable": "make it readable, or put a whole copy in its place",
    "skipped": "not read, by rule",
    "abandoned": "gone before it was read; keep files until they are read",
}
Counts = dict[str, dict[str, tuple[int, int]]]  # state -> reason -> (partitions, bytes)


@dataclass(frozen=True)
class Remainder:
    """What one source had not given to a window when it was last looked at."""

    counts: Counts = field(default_factory=dict)
    named: tuple[Untaken, ...] = ()

    def num(self, *states: str) -> int:
        """How many partitions are in these states."""
        return sum(partitions for state in states for partitions, _ in self.counts.get(state, {}).values())

    def to_dict(self) -> dict[str, dict[str, dict[str, int]]]:
        """The counts by state and reason, for JSON."""
        return {
            state: {reason: {"files": n, "bytes": b} for reason, (n, b) in reasons.items()}
            for state, reasons in self.counts.items()
        }

    def sentences(self, label: str) -> list[str]:
        """One sentence a state, for people."""
        told = []
        for state, reasons in self.counts.items():
            parts = [f"{reason.replace('_', ' ')}: {many(n, 'file')}, {size(b)}" for reason, (n, b) in reasons.items()]
            names = [visible(each.partition) for each in self.named if each.state == state]
            first = f", for example {names[0]}" if names else ""
            told.append(f"source {label}, {state}: {'; '.join(parts)}{first} ({MEANINGS[state]})")
        return told


def remainder_of(untaken: Sequence[Untaken]) -> Remainder:
    """Count what was not taken by state and reason."""
    counts: Counts = {}
    for each in sorted(untaken):
        reasons = counts.setdefault(each.state, {})
        partitions, num_bytes = reasons.get(each.reason, (0, 0))
        reasons[each.reason] = partitions + 1, num_bytes + each.num_bytes
    return Remainder(counts, tuple(sorted(untaken, key=lambda each: (each.state, each.partition))[:MOST_NAMED]))


def write_remainder(store: Store, label: str, remainder: Remainder) -> None:
    """Note what a source had not given at its last look."""
    named = [each._asdict() for each in remainder.named]
    values = {"format": FORMAT, "seen": datetime.now(UTC).isoformat(), "counts": remainder.counts, "named": named}
    store.write(f"{FOLDER}/{label}.json", json.dumps(values).encode())


def read_remainders(store: Store) -> dict[str, Remainder]:
    """Return what each source had not given, by label; ValueError that names a file which cannot be read."""
    found: dict[str, Remainder] = {}
    for path in store.list(FOLDER):
        label = path.removeprefix(f"{FOLDER}/").removesuffix(".json")
        try:
            values = json.loads(store.read(path))
            counts = {
                state: {reason: (int(n), int(b)) for reason, (n, b) in reasons.items()}
                for state, reasons in values["counts"].items()
            }
            found[label] = Remainder(counts, tuple(Untaken(**each) for each in values["named"]))
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise ValueError(
                f"{path} in {store.uri} cannot be read ({error}); delete it, the next ingest writes it anew"
            ) from None
    return found


def told_of(store: Store) -> list[str]:
    """Say of every source what it had not given at its last look, a sentence a state."""
    return [each for label, left in sorted(read_remainders(store).items()) for each in left.sentences(label)]
