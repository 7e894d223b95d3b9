"""What is in the folder of a dataset: its fingerprint, its files in their order, and the rows of each?

`save_to_disk` writes the files first and state.json last, so a folder with it is whole. The fingerprint in it names the
rows, not the files: the same dataset may be saved in three files or in two, and a place is a file and a row. So names,
sizes, first and last bytes of the files belong to ours. Of several splits there is a list, and a folder for each.
"""

from functools import lru_cache
from typing import Any, NamedTuple

import msgspec
import pyarrow as pa
import pyarrow.fs as pafs
import xxhash

from cluster.storage.retry import retry
from cluster.storage.store import Store
from cluster.storage.uri import checked
from data_ops.sources.dataset.config import DatasetConfig
from data_ops.sources.dataset.frames import BATCH, BadArrowError, frames
from data_ops.sources.files.formats.streams import raw_mark
from data_ops.sources.files.listing import open_partition, read_at

STATE, SPLITS = "state.json", "dataset_dict.json"


class DatasetRefusedError(OSError):
    """A dataset cannot be read as it is configured; the sentence says why and what to do."""


class UnfinishedError(DatasetRefusedError):
    """A file that a dataset names is not there, or not there yet."""


class SavedDataset(NamedTuple):
    """A dataset that was saved."""

    folder: str  # that of the split
    fingerprint: str  # its own, and a digest of what can be seen of its files
    files: tuple[str, ...]  # in the order of their rows
    saved_s: float  # when, seconds since 1970
    written_s: float  # when the newest file of rows was written; later than saved_s while it is saved anew


class ArrowBatch(NamedTuple):
    """A batch of a file: its bytes [start, end), and its rows [first, first + num_rows) of the file."""

    start: int
    end: int
    first: int
    num_rows: int


class FileLayout(NamedTuple):
    """Where the batches of a file are; broken: why nothing is read behind them, "" where that is all."""

    before: tuple[tuple[int, int], ...]  # bytes of the schema and of dictionaries, without which no batch is read
    batches: tuple[ArrowBatch, ...]
    broken: str

    @property
    def num_rows(self) -> int:
        """How many rows the batches have."""
        return self.batches[-1].first + self.batches[-1].num_rows if self.batches else 0

    @property
    def num_places(self) -> int:
        """How many places the file is given: its rows, and one for what cannot be read behind them."""
        return self.num_rows + bool(self.broken)


class _Named(msgspec.Struct):
    filename: str


class _State(msgspec.Struct):
    files: list[_Named] = msgspec.field(name="_data_files")
    fingerprint: str = msgspec.field(name="_fingerprint")
    indices: list[_Named] | None = msgspec.field(name="_indices_data_files", default=None)


class _Splits(msgspec.Struct):
    splits: list[str] = msgspec.field(default_factory=list)


def splits_of(store: Store) -> tuple[str, ...] | None:
    """Name the splits of a folder; None where it is not a folder of splits."""
    if not store.exists(SPLITS):
        return None
    return tuple(_read(store, SPLITS, _Splits).splits)


def saved_dataset(config: DatasetConfig) -> SavedDataset | None:
    """Look at a dataset; None where there is none yet. DatasetRefusedError where it cannot be read as configured."""
    store = Store.open(config.path)
    splits, split = splits_of(store), config.split
    if splits is not None:
        if split is None and len(splits) != 1:
            raise DatasetRefusedError(f"the folder holds the splits {', '.join(splits)}; name one by split")
        split = split or splits[0]
        if split not in splits:
            raise DatasetRefusedError(f"the folder has no split {split}; it has {', '.join(splits)}")
        store = Store.open(f"{config.root}/{checked(split)}")
    if not store.exists(STATE):
        return None
    if splits is None and split is not None:
        raise DatasetRefusedError(f"split={split} is of a folder of splits, and this is one dataset; leave it out")
    state = _read(store, STATE, _State)
    if state.indices:
        raise DatasetRefusedError("its rows are chosen by a list of indices; save it with a newer version of datasets")
    files = tuple(checked(each.filename) for each in state.files)
    infos = retry(lambda: store.filesystem.get_file_info([f"{store.root}/{name}" for name in (STATE, *files)]))
    absent = [info.base_name for info in infos if info.type is not pafs.FileType.File]
    if absent:
        raise UnfinishedError(f"{absent[0]} is named by state.json and not there; save the dataset again")
    seen = [
        (name, info.size, _mark(f"{store.uri}/{name}", info.size, info.mtime_ns or 0))
        for name, info in zip(files, infos[1:], strict=True)
    ]
    digest = xxhash.xxh3_64_hexdigest(msgspec.json.encode(seen))
    moments = [(info.mtime_ns or 0) / 1e9 for info in infos]
    return SavedDataset(store.uri, f"{state.fingerprint}-{digest}", files, moments[0], max(moments[1:], default=0.0))


@lru_cache(maxsize=4096)
def _mark(partition: str, size: int, modified_ns: int) -> str:
    """Fingerprint a file by its first 64 KiB and last 4 KiB; modified_ns tells one version of it from another."""
    return raw_mark(partition, size)


def _read(store: Store, name: str, kind: Any) -> Any:
    try:
        return msgspec.json.decode(store.read(name), type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise DatasetRefusedError(f"{store.uri}/{name} makes no sense ({error}); save the dataset again") from error


@lru_cache(maxsize=4096)
def layout(folder: str, name: str, fingerprint: str) -> FileLayout:
    """Find the batches of a file of a dataset. FileNotFoundError where it is not there."""
    filesystem, path = open_partition(f"{folder}/{name}")
    before, batches, first = list[tuple[int, int]](), list[ArrowBatch](), 0
    with filesystem.open_input_file(path) as file:
        try:
            for frame in frames(file):
                if frame.kind == BATCH:
                    batches.append(ArrowBatch(frame.start, frame.end, first, frame.num_rows))
                    first += frame.num_rows
                else:
                    before.append((frame.start, frame.end))
        except BadArrowError as error:
            return FileLayout(tuple(before), tuple(batches), f"{folder}/{name}: {error}; save the dataset again")
    return FileLayout(tuple(before), tuple(batches), "" if before else f"{folder}/{name} holds no Arrow")


def read_batch(folder: str, name: str, layout: FileLayout, batch: ArrowBatch) -> pa.RecordBatch:
    """Read one batch by itself. BadArrowError where its bytes make no sense."""
    filesystem, path = open_partition(f"{folder}/{name}")
    with filesystem.open_input_file(path) as file:
        before = [stretch for stretch in layout.before if stretch[0] < batch.start]
        data = b"".join(read_at(file, start, end - start) for start, end in (*before, (batch.start, batch.end)))
    try:
        return pa.ipc.open_stream(pa.py_buffer(data)).read_next_batch()
    except (pa.ArrowException, OSError, ValueError, StopIteration) as error:
        raise BadArrowError(f"the batch at byte {batch.start} of {folder}/{name} cannot be read ({error})") from error


def schema_of(folder: str, name: str, layout: FileLayout) -> pa.Schema:
    """Read the schema of a file. BadArrowError where there is none."""
    filesystem, path = open_partition(f"{folder}/{name}")
    with filesystem.open_input_file(path) as file:
        data = b"".join(read_at(file, start, end - start) for start, end in layout.before[:1])
    try:
        return pa.ipc.open_stream(pa.py_buffer(data)).schema
    except (pa.ArrowException, OSError, ValueError) as error:
        raise BadArrowError(f"{folder}/{name} has no schema of Arrow ({error})") from error
