"""What does the product read out of a store? Every thing that is used, by name, as one digest each.

The same functions that ingest, feed, gate and commands use. A reading that fails is no digest but the sentence it
failed with.
"""

import hashlib
import re
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import msgspec
import pyarrow as pa

from cluster.storage.retry import one_line
from cluster.storage.state import read_json
from cluster.storage.store import Store
from data_ops.curation.history.exact import ExactDuplicates
from data_ops.curation.history.history import HistoryRule, Restored
from data_ops.documents.frontier import Frontier
from data_ops.index.folder import KNOWN_IDS
from data_ops.index.kept import LakeLog
from data_ops.ingest.seen import Histories, sketches_of
from data_ops.lake.lake import Lake
from data_ops.lake.log import LOG_COLUMNS, PendingLog, text_of
from data_ops.lake.progress import Reach
from data_ops.rounds.manifest import Manifest
from data_ops.rounds.masking import RowObjective
from ray_jobs.checkpoints import manifest as commits
from ray_jobs.checkpoints.champion import read_champion
from ray_jobs.checkpoints.files import fetch_files
from ray_jobs.evaluation.held_out import held_out
from ray_jobs.evaluation.scores import read_scores
from ray_jobs.registry.lineage import TrackingId
from ray_jobs.store.frozen import read_frozen, read_tokenizer
from ray_jobs.store.lease import acquire, overruled
from ray_jobs.training.events import read_events
from tests.support.small_store import RUN, small_config

DERIVED = {"events", "summary", "heart"}  # written anew, or for people alone: nothing is decided by them


class IndexElsewhere(ExactDuplicates):
    """The rule of exact duplicates, with its index in another folder than the lake."""

    place: str

    def restore(self, store: Store, log: LakeLog) -> Restored:
        return super().restore(Store.open(self.place), log)


class Reading(msgspec.Struct):
    """One thing that was read: its digest, or why it could not be read."""

    digest: str = ""
    error: str = ""


def read_all(folder: Path) -> dict[str, Reading]:
    """Everything that is read of the store in `folder`."""
    store = Store.open(f"{folder}/lake")
    lake, config = Lake(store), small_config(folder)
    readings: dict[str, Callable[[], object]] = {
        "windows": lake.windows,
        "cursors": partial(_progress, lake),
        "documents": lambda: lake.documents(0, lake.last_window()),
        "ids": lambda: lake.documents(0, lake.last_window(), ["id"], ["kept", "held_out", "forgotten"]),
        "known ids": partial(_known, lake),
        "log": lambda: PendingLog(lake).after(Frontier(), lake.last_window()).select(LOG_COLUMNS),
        "held out": lambda: held_out(lake, lake.last_window(), config.evaluate, 64, RowObjective(256)).__dict__,
        "forgotten": lambda: lake.forgotten().tolist(),
        "round 0": partial(_round, lake, 0),
        "round 1": partial(_round, lake, 1),
        "rounds": lambda: lake.num_rounds(RUN),
        "ledger": lambda: lake.ledger(RUN).to_pylist(),
        "settings": partial(read_frozen, store),
        "tokenizer": lambda: read_tokenizer(store).to_json(),
        "champion": partial(read_champion, store),
        "decision": partial(_object, store, "registry/decisions/small-00000006.json"),
        "checkpoint 3": partial(_checkpoint, store, 3),
        "checkpoint 6": partial(_checkpoint, store, 6),
        "overruled": lambda: overruled(store, RUN, 0, 6),
        "scores": lambda: read_scores(store, RUN, "00000006"),
        "config": partial(_object, store, f"runs/{RUN}/config.json"),
        "tracking": lambda: read_json(store, f"runs/{RUN}/wandb.json", TrackingId).id,
        "summary": partial(_object, store, f"runs/{RUN}/summary.json"),
        "events": lambda: read_events(store, RUN),
        "lease": partial(_lease, store),
    }
    return {name: _read(ask) for name, ask in readings.items()}


def _progress(lake: Lake) -> object:
    progress = Reach()
    progress.catch_up(lake)
    return progress.__dict__


def _known(lake: Lake) -> object:
    """What ingest would answer of all documents of the store, and what it tells; of a copy, as it mends an index."""
    with tempfile.TemporaryDirectory(prefix="headrace-flips-") as place:
        copy = Store.open(place)
        for path in lake.store.list(KNOWN_IDS):
            copy.write(path, lake.store.read(path))
        rules: dict[str, HistoryRule] = {"duplicate": IndexElsewhere(place=place)}
        rows = lake.documents(0, lake.last_window(), ["id"])
        return Histories(lake, rules).look(lake.last_window() + 1, rows["id"], sketches_of(rows, rules)).to_pylist()


def _round(lake: Lake, number: int) -> object:
    """A round as the feed brings it: from its file, or else from the lake."""
    from ray_jobs.training.actors.round_files import RoundFiles  # ray

    found = RoundFiles(lake.store, RUN).read(number)
    if found is None:
        manifest = Manifest.from_row(lake.rounds(RUN, number), 0)
        found = manifest, text_of(lake, manifest.fresh, manifest.replay, [])
    manifest, text = found
    return [manifest.to_row(), *(column.tolist() for column in text)]


def _object(store: Store, path: str) -> object:
    """An object of JSON, without its last key if that was the digest's: it belongs to nobody then."""
    found = read_json(store, path, dict[str, object])
    last = next(reversed(found))
    return {key: value for key, value in found.items() if key != last or not re.fullmatch("[0-9a-f]{32}", str(value))}


def _checkpoint(store: Store, step: int) -> object:
    commit = commits.load(store, RUN, step)
    paths = fetch_files(store, commit, Path())
    return msgspec.to_builtins(commit), [path.read_bytes() for path in paths]


def _lease(store: Store) -> object:
    """What the next driver takes over; its own claim goes again."""
    mine = acquire(store, RUN, 0.0)
    store.delete(f"runs/{RUN}/lease/{mine.number:08d}.json")
    return mine.number, mine.newest_step


def _read(ask: Callable[[], object]) -> Reading:
    try:
        found = ask()
    except Exception as error:
        return Reading(error=f"{type(error).__name__}: {one_line(error)}")
    return Reading(digest=hashlib.sha256(_plain(found)).hexdigest())


def _plain(found: object) -> bytes:
    if isinstance(found, pa.Table):
        found = [[name, found[name].to_pylist()] for name in found.column_names]
    if isinstance(found, dict):
        found = {key: value.to_pylist() if isinstance(value, pa.Table) else value for key, value in found.items()}
    return repr(found).encode()
