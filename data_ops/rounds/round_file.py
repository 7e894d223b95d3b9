"""Where does a starting feed find its round at once, however long the log behind it has grown?

In one file: manifest, tokens and arrival times, written after the manifest is in the lake and derived from it, so it
may be missing or broken at any time. It counts only if its checksum holds and the log entry that committed its
manifest still has the bytes it had: two small reads, at any size of the lake. Where that entry was cleaned away, as
happens after an hour, the manifest itself is compared (20 ms). It is read, not mapped: the checksum touches every byte
anyway (0.1 ms a MB), and what was checked is then what is trained.
"""

import json
import logging
from collections.abc import Collection
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import xxhash

from cluster.storage.store import Store
from data_ops.documents.place import Documents, Place
from data_ops.lake.lake import Lake
from data_ops.lake.log import RoundText
from data_ops.lake.schemas import ROUND_SCHEMA
from data_ops.rounds.layout import Layout
from data_ops.rounds.manifest import Manifest

logger = logging.getLogger(__name__)

MAGIC = b"headrace round 2"
HEADER_BYTES = 64  # magic, checksum of all that follows, zeros: Arrow's buffers stay aligned
ENTRY = b"entry"  # of the schema's metadata: version and checksum of the log entry that committed the manifest
LOOK_BACK = 64  # log entries to search for that one; when a round was just appended it is among the last
BRANCH = "branch-"
COLUMNS = [ROUND_SCHEMA.field(name) for name in ("plan", "fresh", "replay", "shed")]
TEXT = {
    "tokens": pa.large_list(pa.int32()),
    "offsets": pa.list_(pa.int64()),
    "arrived_s": pa.list_(pa.float64()),
    "blank": pa.list_(pa.uint8()),
    "event_s": pa.list_(pa.float64()),
    "sources": pa.list_(pa.string()),
}
SCHEMA = pa.schema([*COLUMNS, *(pa.field(name, kind) for name, kind in TEXT.items())])


class RoundFile(NamedTuple):
    """The file of one round: its path, and the (run, number) of its manifest in the lake."""

    store: Store
    path: str
    run: str
    number: int

    def read(self) -> tuple[Manifest, RoundText] | None:
        """Return the round; None where the file is missing or, with a warning, where it cannot be trusted."""
        try:
            data = self.store.read(self.path)
        except FileNotFoundError:
            return None
        except OSError as error:
            return self._distrust(str(error))
        if not is_whole(data):
            return self._distrust("its checksum does not match")
        body = memoryview(data)[HEADER_BYTES:]
        table = pa.ipc.open_stream(pa.py_buffer(body)).read_all()
        version, _, digest = table.schema.metadata[ENTRY].decode().partition(" ")
        manifest, entry = Manifest.from_row(table, 0), self._log_entry(int(version))
        if entry is None:
            made_from_it = self._is_recorded(manifest)
        else:
            made_from_it = _digest(entry).hex() == digest and self._commits_manifest(entry)
        if not made_from_it:
            return self._distrust("it was not made from the manifest in the lake")
        columns = {name: table[name].chunk(0).values.to_numpy(zero_copy_only=name != "sources") for name in TEXT}
        text = RoundText(**columns)
        return manifest, text._replace(blank=text.blank.astype(np.bool_), sources=text.sources.astype(np.str_))

    def write(self, manifest: Manifest, text: RoundText) -> None:
        """Write the file of a manifest that is in the lake. Raises OSError, for example for a full disk."""
        entry = self._entry_of_manifest()
        if entry is None:
            return  # a round of long ago: reading it from the lake once more is cheaper than a long search
        columns = pa.Table.from_pylist([manifest.to_row()], schema=pa.schema(COLUMNS)).columns
        text = text._replace(blank=text.blank.view(np.uint8))
        lists = [_one_list(kind, pa.array(values)) for kind, values in zip(TEXT.values(), text, strict=True)]
        schema = SCHEMA.with_metadata({ENTRY: f"{entry[0]} {_digest(entry[1]).hex()}"})
        table = pa.Table.from_arrays([*columns, *lists], schema=schema)
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, schema) as stream:
            stream.write_table(table)
        body = sink.getvalue()
        header = (MAGIC + _digest(body)).ljust(HEADER_BYTES, b"\0")
        self.store.write(self.path, b"".join([header, body]))

    def _distrust(self, why: str) -> None:
        logger.warning("%s is not used, its round is read from the lake: %s", self.path, why)

    def _log_entry(self, version: int) -> bytes | None:
        """Bytes of one entry of the Delta log of `rounds`; None if there is no such entry."""
        try:
            return self.store.read(f"rounds/_delta_log/{version:020d}.json")
        except FileNotFoundError:
            return None

    def _is_recorded(self, manifest: Manifest) -> bool:
        """Whether the lake has this very manifest as this round's."""
        rows = Lake(self.store).rounds(self.run, self.number)
        return rows.num_rows == 1 and Manifest.from_row(rows, 0).to_row() == manifest.to_row()

    def _entry_of_manifest(self) -> tuple[int, bytes] | None:
        """Version and bytes of the log entry that committed this round's manifest, if it is a recent one."""
        names = [path.rpartition("/")[2] for path in self.store.list("rounds/_delta_log")]
        versions = [int(name[:-5]) for name in names if name.endswith(".json") and name[:-5].isdigit()]
        for version in sorted(versions, reverse=True)[:LOOK_BACK]:
            entry = self._log_entry(version)
            if entry is not None and self._commits_manifest(entry):
                return version, entry
        return None

    def _commits_manifest(self, entry: bytes) -> bool:
        actions = [json.loads(line).get("txn") or {} for line in entry.splitlines()]
        wanted = (f"rounds/{self.run}", self.number)
        return any((action.get("appId"), action.get("version")) == wanted for action in actions)


def is_whole(data: bytes) -> bool:
    """Are these the bytes of such a file, as they were written?"""
    return data[:HEADER_BYTES] == (MAGIC + _digest(memoryview(data)[HEADER_BYTES:])).ljust(HEADER_BYTES, b"\0")


def round_file(store: Store, run: str, number: int) -> RoundFile:
    """Name the file of a round of the main line."""
    return RoundFile(store, f"{folder(run)}/{number:08d}.arrow", run, number)


def branch_file(store: Store, run: str, step: int, branch: str) -> RoundFile:
    """Name the file of the one round of the decay branch that leaves `run` at `step` as run `branch`."""
    return RoundFile(store, f"{folder(run)}/{BRANCH}{step:08d}.arrow", branch, 0)


def folder(run: str) -> str:
    """Where the files of a run's rounds are; deleting all of it is always safe."""
    return f"runs/{run}/rounds"


def collect(store: Store, run: str, newest_round: int, newest_step: int, kept: Collection[int]) -> list[str]:
    """Delete the files that no start can need, and return their paths.

    newest_round, newest_step: of the newest checkpoint; the rounds of all checkpoints that are kept stay too.
    """
    gone = []
    for path in store.list(folder(run)):
        name = path.rpartition("/")[2].removesuffix(".arrow")
        step, is_branch = name.removeprefix(BRANCH), name.startswith(BRANCH)
        if not step.isdigit():
            continue
        old = int(step) < newest_step if is_branch else int(step) < newest_round and int(step) not in kept
        if old:
            store.delete(path)
            gone.append(path)
    return gone


def warm_up() -> None:
    """Import and compile what a first batch takes, on a round of one empty document: a second in a new process."""
    one = Documents(np.zeros((1, 2), np.uint64), *(np.zeros(1, np.int64) for _ in range(3)))
    place, none = Place(), Documents.empty()
    manifest = Manifest(0, place, place, 0, 1, 1, 8, "tokens", one, none, none)
    table = pa.Table.from_pylist([manifest.to_row()], schema=pa.schema(COLUMNS))
    layout = Layout(Manifest.from_row(table, 0))
    layout.fill(layout.rows_of(0), 1, np.zeros(0, np.int32), np.zeros(2, np.int64), 0)
    layout.predictions(0, np.zeros(0, np.int32), np.zeros(2, np.int64))


def _one_list(kind: pa.DataType, values: pa.Array) -> pa.Array:
    """A list array of one list, in place."""
    array = pa.LargeListArray if pa.types.is_large_list(kind) else pa.ListArray
    offsets = pa.array([0, len(values)], pa.int64() if array is pa.LargeListArray else pa.int32())
    return array.from_arrays(offsets, values)


def _digest(data: bytes | memoryview) -> bytes:
    return bytes(xxhash.xxh3_128_digest(data))
