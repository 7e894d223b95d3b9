"""The loop without Ray: the same parts, called one after the other in one process, to be stopped between any two.

`ingest` and `plan` do what data_ops/ingest/pipeline.py and ray_jobs/training/actors/feed.py do with tasks and actors,
with the same functions.
"""

from collections.abc import Callable
from typing import Any

import pyarrow as pa

from data_ops.curation.curate import Provenance, curate
from data_ops.documents.fates import count, drop_living, living
from data_ops.documents.frontier import Frontier
from data_ops.documents.tokenizer import byte_tokenizer
from data_ops.ingest import pipeline
from data_ops.ingest.config import IngestSettings
from data_ops.ingest.context import IngestContext
from data_ops.ingest.pipeline import next_window
from data_ops.ingest.seen import Histories, drop_repeats, sketches_of
from data_ops.lake.lake import Lake
from data_ops.lake.log import PendingLog
from data_ops.lake.window import Window
from data_ops.mixing.config import MixtureConfig
from data_ops.mixing.mixed_cut import Looked
from data_ops.mixing.versions import configure, version_for
from data_ops.rounds.config import RoundConfig
from data_ops.rounds.manifest import Manifest, Planning, Shape
from data_ops.rounds.next_round import behind_round, next_round
from data_ops.rounds.plan import Behind
from data_ops.sampling.reservoir import ReservoirConfig
from data_ops.sampling.shard import Sample, Shard, merge_shards
from data_ops.sources.kinds import open_source

TOKENIZER = byte_tokenizer()


def plan_window(lake: Lake, settings: IngestSettings) -> Window | None:
    """Take up the open window or plan the next one; None when the sources are drained."""

    def never() -> bool:
        return False

    def ignore(event: dict[str, Any]) -> None:
        pass

    return next_window(IngestContext(lake, settings, follow=False, stop=never, warned=set(), report=ignore))


def run_window(lake: Lake, settings: IngestSettings, window: Window, seen: Histories) -> tuple[Window, pa.Table]:
    """Read and curate a planned window; the window with its counts and its rows."""
    tables = []
    for label in sorted(window.spans):
        config = settings.sources[label]
        for span in window.spans[label]:
            for batch in open_source(label, config).read(span):
                table = curate(
                    batch,
                    settings.curate,
                    Provenance(label, span.partition, config.weight, span.modified_s, window.arrived.timestamp()),
                    seed=settings.seed,
                    held_out_share=settings.held_out,
                )
                documents = table.filter(pa.array(living(table)))
                sketches = sketches_of(documents, settings.curate.remembered)
                table = drop_living(table, seen.look(window.window, documents["id"], sketches))
                tables.append(table.append_column("tokens", pipeline._tokens(table, living(table), TOKENIZER)))
    rows = pipeline._place(drop_repeats(pa.concat_tables(tables), settings.curate.remembered), window.window)
    return Window(window.window, window.spans, window.cursors, window.arrived, count(rows)), rows


class Planner:
    """What a feed knows: the log it walks and the shards it draws from; all of it comes back from the lake."""

    def __init__(
        self,
        lake: Lake,
        run: str,
        rounds: RoundConfig,
        shape: Shape,
        seed: int,
        mixture: MixtureConfig | None = None,
    ) -> None:
        self.mixture = mixture
        self.lake, self.run, self.config, self.shape, self.seed = lake, run, rounds, shape, seed
        self.reservoir = ReservoirConfig(capacity=20, half_life=("10d", "none"), shards=2)
        self.shards = [Shard(lake, self.reservoir, seed, number) for number in range(2)]
        self.pending = PendingLog(lake)
        self.manifests: dict[int, Manifest] = {}

    def plan(self, number: int, drained: bool, write: Callable[[str, int, dict[str, Any]], bool]) -> Manifest | None:
        """Give a round: recorded, or cut now and written with `write`; None if there is not enough for one."""
        if number not in self.manifests and (found := self._plan(number, drained, write)):
            self.manifests[number] = found
        return self.manifests.get(number)

    def _plan(self, number: int, drained: bool, write: Callable[[str, int, dict[str, Any]], bool]) -> Manifest | None:
        if number < self.lake.num_rounds(self.run):
            return Manifest.from_row(self.lake.rounds(self.run, number), 0)
        lake, last = self.lake, self.lake.last_window()
        configure(lake.store, self.run, self.mixture, number)
        version = version_for(lake.store, self.run, number)
        before = Manifest.from_row(lake.rounds(self.run, number - 1), 0) if number else None
        behind = behind_round(lake, self.run, before, version) if before else Behind()
        looked = Looked(self.pending.after(behind.frontier, last), last, drained)
        planning = Planning(self.config, self.reservoir, self.shape, self.seed, self.mixture)
        manifest = next_round(planning, number, behind, looked, version, self._sample)
        if not isinstance(manifest, Manifest):
            return None
        write(self.run, number, manifest.to_row())
        return manifest

    def _sample(self, upto: Frontier) -> Sample:
        return merge_shards(self.reservoir, self.seed, [shard.state(upto) for shard in self.shards])
