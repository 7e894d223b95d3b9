"""Which records are in the rows of a dataset?

The columns that are asked for are taken out of a batch, checked, and read as the cells of any table (formats/cells.py).
A batch that cannot be read costs its own rows. No extension type is looked up: a column is its plain storage.
"""

from collections.abc import Iterator

import msgspec
import pyarrow as pa

from data_ops.sources.dataset.config import DatasetConfig
from data_ops.sources.dataset.folder import FileLayout, layout, read_batch
from data_ops.sources.dataset.frames import BadArrowError
from data_ops.sources.fields import Fields, RecordRows
from data_ops.sources.files.formats.cells import add_cells
from data_ops.sources.files.formats.columns import locate
from data_ops.sources.files.formats.unpack import Limits
from data_ops.sources.protocol import MAX_BATCH_BYTES, MAX_BATCH_ROWS, ChangedError, Span

AT_ONCE = 1024  # rows


class DatasetMark(msgspec.Struct, frozen=True, array_like=True):
    """Which file of which dataset a span is a piece of, as it stands in the span."""

    folder: str
    fingerprint: str
    file: str

    @property
    def text(self) -> str:
        """Write it down."""
        return msgspec.json.encode(self).decode()

    @classmethod
    def of(cls, span: Span) -> "DatasetMark":
        """Read it from a span."""
        return msgspec.json.decode(span.mark, type=cls)

    @property
    def layout(self) -> FileLayout:
        """Where the batches of the file are."""
        return layout(self.folder, self.file, self.fingerprint)


def read_rows_of(span: Span, config: DatasetConfig) -> Iterator[pa.RecordBatch]:
    """Read places [start, end) of a file; the one behind the last row is of what cannot be read of a broken file."""
    mark, rows = DatasetMark.of(span), RecordRows(span.first_record)
    places = mark.layout
    if places.num_places < span.end:
        raise ChangedError(f"{mark.folder}/{mark.file} has {places.num_places} rows where {span.end} were planned")
    for place in places.batches:
        first, last = max(span.start - place.first, 0), min(span.end - place.first, place.num_rows)
        if first >= last:
            continue
        try:
            batch = _asked(read_batch(mark.folder, mark.file, places, place), config).slice(first, last - first)
            if batch.num_rows != last - first:
                raise BadArrowError(f"the batch at byte {place.start} has fewer rows than it claims")
            batch.validate(full=True)
        except (BadArrowError, pa.ArrowException) as error:
            for _ in range(first, last):
                rows.quarantine("bad_arrow", str(error), 0)
                if rows.full:
                    yield rows.take()
            continue
        yield from _records(rows, batch, config)
    if span.end > places.num_rows:
        rows.quarantine("bad_arrow", places.broken, 0)
    if rows.texts:
        yield rows.take()


def _records(rows: RecordRows, batch: pa.RecordBatch, config: DatasetConfig) -> Iterator[pa.RecordBatch]:
    """Add the rows of a batch, a few at once."""
    columns = locate(batch.schema, Fields(config.text, config.time, config.id), config.conversations)
    at_once = max(1, min(AT_ONCE, MAX_BATCH_BYTES * len(batch) // max(batch.nbytes, 1)))
    while len(batch):
        count = min(at_once, MAX_BATCH_ROWS - len(rows.texts))
        add_cells(rows, columns, batch.slice(0, count), Limits(config.max_record_bytes))
        batch = batch.slice(count)
        if rows.full:
            yield rows.take()


def _asked(batch: pa.RecordBatch, config: DatasetConfig) -> pa.RecordBatch:
    """Take the columns of a record out of a batch, nested ones too, each under the name by which it is asked for."""
    spoken = config.conversations
    asked = dict.fromkeys(name for name in (*(spoken or (config.text,)), config.time, config.id) if name)
    found = {name: column for name in asked if (column := column_at(batch, name)) is not None}
    if not found:
        return pa.RecordBatch.from_struct_array(pa.array([{}] * len(batch), pa.struct([])))
    return pa.RecordBatch.from_arrays([*found.values()], names=[*found])


def column_at(batch: pa.RecordBatch, path: str) -> pa.Array | None:
    """Find a column by its name, else by the path that leads to it; None where there is none, or several."""
    if batch.schema.names.count(path) == 1:
        return _plain(batch[path])
    first, *steps = path.split(".")
    if not steps or batch.schema.names.count(first) != 1:
        return None
    array = _plain(batch[first])
    for step in steps:
        if not pa.types.is_struct(array.type) or array.type.get_field_index(step) < 0:
            return None
        array = _plain(array.flatten()[array.type.get_field_index(step)])
    return array


def _plain(array: pa.Array) -> pa.Array:
    return array.storage if isinstance(array, pa.ExtensionArray) else array
