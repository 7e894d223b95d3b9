"""A log of several sources that grows, and a run that plans rounds from it, without a lake."""

from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
from hypothesis import strategies as st

from data_ops.documents.frontier import Frontier
from data_ops.documents.place import Documents, Place
from data_ops.kernels.arrays import array_to_ids
from data_ops.mixing.config import MixtureConfig
from data_ops.mixing.mixed_cut import Looked
from data_ops.mixing.versions import MixtureVersion
from data_ops.rounds.config import RoundConfig
from data_ops.rounds.manifest import Manifest, Planning, Shape
from data_ops.rounds.next_round import next_round
from data_ops.rounds.plan import Behind
from data_ops.sampling.config import ReservoirConfig
from data_ops.sampling.shard import Sample

LABELS = ("a", "b", "c")
SHAPE = Shape(row_tokens=64, batch_rows=4)


def window_rows(number, counts, rng, most_tokens=40, gaps=True):
    """One window in the order in which ingest writes it: all of a source, then all of the next; gaps where others went.

    counts: documents by source.
    """
    sources = np.repeat(sorted(counts), [counts[label] for label in sorted(counts)])
    n = len(sources)
    positions = np.cumsum(rng.integers(1, 4 if gaps else 2, n)) - 1
    return pa.table(
        {
            "id": array_to_ids(rng.integers(0, 2**64, (n, 2), dtype=np.uint64)),
            "window": np.full(n, number, np.int64),
            "position": positions.astype(np.int64),
            "num_tokens": rng.integers(0, most_tokens + 1, n),
            "num_bytes": rng.integers(0, 5 * most_tokens + 1, n),
            "weight": np.ones(n),
            "source": pa.array(sources.tolist(), pa.string()),
            "event_time": pa.array(rng.integers(0, 10**12, n)).cast(pa.timestamp("us", tz="UTC")),
        }
    )


@dataclass
class MixedRun:
    """A run that plans by a mixture; `mixture` may be set to another between two rounds, as `headrace mix` does."""

    windows: list[pa.Table]
    rounds: RoundConfig
    mixture: MixtureConfig | None
    seed: int = 5
    manifests: list[Manifest] = field(default_factory=list)
    sampled: list[Frontier] = field(default_factory=list)
    version: int = 0

    @property
    def log(self):
        """Everything that was taken in so far."""
        return pa.concat_tables(self.windows)

    def change(self, mixture):
        """Put another version in force."""
        self.mixture, self.version = mixture, self.version + 1

    def plan(self, known, *, drained=False, late=False):
        """Plan a round with the first `known` windows committed; what `next_round` says."""
        log = pa.concat_tables(self.windows[:known]) if known else self.windows[0].slice(0, 0)
        behind = Behind.of(self.manifests[-1]) if self.manifests else Behind()
        waits = behind.frontier.waiting(log["source"], log["window"].to_numpy(), log["position"].to_numpy())
        looked = Looked(log.filter(pa.array(waits)), known - 1, drained, lambda has_fresh: late)
        planning = Planning(self.rounds, ReservoirConfig(), SHAPE, self.seed)
        found = next_round(planning, len(self.manifests), behind, looked, self._version(), self._sample)
        if isinstance(found, Manifest):
            self.manifests.append(Manifest.from_row(pa.Table.from_pylist([found.to_row()]), 0))
        return found

    def plan_all(self, *, drained=True):
        """Plan until nothing is left, all windows being there."""
        while isinstance(self.plan(len(self.windows), drained=drained), Manifest):
            pass
        return self.manifests

    def _version(self):
        return None if self.mixture is None else MixtureVersion(version=self.version, mixture=self.mixture)

    def _sample(self, upto):
        """Everything before a frontier: what the reservoir would hold if it were large."""
        self.sampled.append(upto)
        log = self.log
        waits = upto.waiting(log["source"], log["window"].to_numpy(), log["position"].to_numpy())
        rows = log.filter(pa.array(~waits))
        return Sample(Documents.from_table(rows), "all", np.array(rows["source"].to_pylist(), dtype=object))


def places(documents):
    """Where documents are, as tuples."""
    return [Place(*p) for p in zip(documents.windows.tolist(), documents.positions.tolist(), strict=True)]


@st.composite
def logs(draw):
    """Windows of up to three sources, some of them empty."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    counts = draw(
        st.lists(st.dictionaries(st.sampled_from(LABELS), st.integers(0, 12), min_size=1), min_size=1, max_size=6)
    )
    return [window_rows(number, each, rng) for number, each in enumerate(counts)]
