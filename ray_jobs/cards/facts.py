"""What is known of a checkpoint, retired or kept, from what is written down?

The ledger and the registry tell it, so it needs no file of the checkpoint, no Ray and no torch. It costs the ledger,
one manifest and the tombstones; what was trained, source by source, is a pass over the lake (`audit.by_period`).
"""

from dataclasses import dataclass
from datetime import UTC, datetime

import pyarrow.compute as pc

from cluster.storage.store import Store
from data_ops.audit.by_period import TrainedRounds
from data_ops.lake.lake import Lake
from data_ops.rounds.manifest import Manifest, Mixed
from ray_jobs.checkpoints.manifest import commits
from ray_jobs.checkpoints.position import TrainingState
from ray_jobs.origin.record import Origin, read_origin
from ray_jobs.outcome import ConfigError
from ray_jobs.registry.ancestry import Ancestry
from ray_jobs.registry.champions import ServiceTime, champion_meant, champions
from ray_jobs.registry.lineage import rounds_of


@dataclass(frozen=True)
class Forgetting:
    """What was to be forgotten. Each call of `headrace forget` that named something new is an epoch."""

    epochs: int
    ids: int
    epochs_since: int = 0  # since the checkpoint was put in service or, if it never was, committed
    ids_since: int = 0
    last: datetime | None = None


@dataclass(frozen=True)
class CheckpointFacts:
    """What is known of a checkpoint; service: its last time in service, None: never.

    main: the run whose line it is of, also where it is a branch of it. rounds, last_window: recorded rounds of that run
    in its weights, and the last window they go to. sample: fingerprint of the reservoir that replay was drawn from.
    """

    name: str
    main: str
    service: ServiceTime | None
    committed: datetime | None
    state: TrainingState | None
    is_kept: bool
    stretches: tuple[TrainedRounds, ...]
    rounds: int
    last_window: int
    mixture: Mixed | None
    sample: str | None
    origin: Origin | None
    forgetting: Forgetting

    @property
    def tokens(self) -> int | None:
        """Positions that it was trained on; None where nobody wrote that down."""
        return self.state.position.tokens if self.state else None

    @property
    def branched_at(self) -> int | None:
        """The step at which it left its main line as a candidate; None where it is of the main line."""
        left = self.name.rpartition("/")[0].partition("@")[2]
        return int(left) if left.isdecimal() else None

    @property
    def weights_sha256(self) -> str | None:
        """Of its weights, if it was judged."""
        found = self.service.entry.weights_sha256 if self.service else None
        return found or (self.origin.sha256 if self.origin and self.origin.checkpoint == self.name else None)


class Registry:
    """The champions and checkpoints of a store, read once."""

    def __init__(self, store: Store) -> None:
        """Read the champions, the ledger and the tombstones."""
        self.store, self.lake = store, Lake(store)
        self.champions = champions(store)
        self.ancestry = Ancestry(store, self.lake)
        self.tombstones = self.lake.tombstones()["forgotten"]

    def facts(self, name: str | None) -> CheckpointFacts:
        """Tell of a champion (by number, RUN/STEP, None: in service) or any checkpoint; ConfigError for others."""
        try:
            service = champion_meant(self.champions, name)
        except ConfigError:
            noted = self.ancestry.note(name) if name and "/" in name else None
            if noted is None:
                raise
            return self._facts(noted["checkpoint"], None)
        return self._facts(service.name, service)

    def before(self, service: ServiceTime) -> ServiceTime | None:
        """Who was in service before."""
        return next((one for one in self.champions if one.number == service.number - 1), None)

    def _facts(self, name: str, service: ServiceTime | None) -> CheckpointFacts:
        run, _, step = name.rpartition("/")
        note, stretches = self.ancestry.note(name), self.ancestry.of(run, int(step))
        line = next((part for part in stretches if "@" not in part.run), stretches[0])
        told = rounds_of(self.lake, line.run, line.stand.place)
        manifest = self._last_round(line.run, told["rounds"] - 1)
        committed = note["committed"] if note else None
        since = datetime.fromtimestamp(service.entry.decided, UTC) if service else committed
        judged_on = service.entry.sample_fingerprint if service else None
        return CheckpointFacts(
            name=name,
            main=line.run,
            service=service,
            committed=committed,
            state=self.ancestry.state(name),
            is_kept=int(step) in commits(self.store, run),
            stretches=stretches,
            rounds=told["rounds"],
            last_window=told["last_window"],
            mixture=manifest.mix if manifest else None,
            sample=judged_on or (manifest.reservoir if manifest else None),
            origin=self._origin(name, line.run),
            forgetting=self._forgetting(since),
        )

    def _last_round(self, run: str, number: int) -> Manifest | None:
        rows = self.lake.rounds(run, number) if number >= 0 else None
        return Manifest.from_row(rows, 0) if rows is not None and rows.num_rows else None

    def _origin(self, name: str, run: str) -> Origin | None:
        """What the run began with; of weights that a run began with, how that run named them."""
        if not name.startswith("base@"):
            return read_origin(self.store, run)
        runs = sorted({row["run"] for row in self.ancestry.rows if "@" not in row["run"]})
        found = (read_origin(self.store, one) for one in runs)
        return next((origin for origin in found if origin is not None and origin.checkpoint == name), None)

    def _forgetting(self, since: datetime | None) -> Forgetting:
        times = self.tombstones
        later = times.filter(pc.greater(times, since)) if since is not None else times.slice(0, 0)
        return Forgetting(
            epochs=len(pc.unique(times)),
            ids=len(times),
            epochs_since=len(pc.unique(later)),
            ids_since=len(later),
            last=times[-1].as_py() if len(times) else None,
        )
