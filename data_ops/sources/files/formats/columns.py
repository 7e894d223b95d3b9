"""Where in a Parquet file are a record's fields, and what do the cells of a column say?

Names may be anything, stand twice, or lead into structs (meta.text). Text is taken as bytes and checked cell by cell,
because writers put other encodings into STRING columns and Arrow does not look. A column that knows its unit
(timestamps, dates) gives its time as it is; only what is untyped is understood liberally (times.py).
"""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from data_ops.conversations.fields import ConversationFields
from data_ops.sources.fields import Fields
from data_ops.sources.times import MAX_YEAR_US, MIN_YEAR_US

DAY_US = 86_400_000_000
UNIT_US = {"s": 1_000_000, "ms": 1_000, "us": 1}
MAX_DEPTH = 8  # of structs within structs that a path may lead through


class Column(NamedTuple):
    """A column of a file: the way to it by position, its first leaf and its type."""

    way: tuple[int, ...]
    leaf: int
    type: pa.DataType


class Columns(NamedTuple):
    """Where the fields are; None: there is no such column, or several (`twice` has their names)."""

    text: Column | None
    time: Column | None
    id: Column | None
    twice: tuple[str, ...]
    names: tuple[str, ...]  # of all columns, as paths
    conversation: ConversationFields | None = None  # what is read instead of a text
    spoken: tuple[Column | None, ...] = ()  # where that is, field by field

    @property
    def leaves(self) -> list[int]:
        """The leaf columns to read, in the order of the file."""
        return sorted({leaf for column in self.read for leaf in range(column.leaf, column.leaf + _leaves(column.type))})

    @property
    def read(self) -> list[Column]:
        """The columns that are read: leaves, and an id of several, which is kept as JSON unless it holds the others."""
        there = [column for column in (self.text, self.time, self.id) if column is not None and _is_leaf(column.type)]
        there += [column for column in self.spoken if column is not None and column not in there]
        name = self.id
        if name is None or name in there or any(name.way == other.way[: len(name.way)] for other in there):
            return there
        return [*there, name]

    @property
    def repeating(self) -> list[int]:
        """The leaves that a dictionary may repeat any number of times, so that it has to be seen."""
        kinds = (pa.types.is_string, pa.types.is_binary)
        return sorted({column.leaf for column in self.read if any(is_kind(column.type) for is_kind in kinds)})


def locate(schema: pa.Schema, fields: Fields, conversation: ConversationFields | None = None) -> Columns:
    """Find the columns of a record's fields, or of those that hold its conversation instead of its text."""
    places: dict[str, list[Column]] = {}
    leaf = 0
    for position in range(len(schema)):
        for path, column in _below(schema.field(position), (position,), leaf):
            places.setdefault(path, []).append(column)
        leaf += _leaves(schema.field(position).type)
    for path, there in places.items():  # a name with a dot is a name before it is a path
        places[path] = [column for column in there if len(column.way) == 1] or there
    twice = tuple(name for name in fields if name and len(places.get(name, ())) > 1)
    asked = ("", *fields[1:], *conversation) if conversation else fields
    text, time, name, *spoken = (places[f][0] if f and len(places.get(f, ())) == 1 else None for f in asked)
    names = tuple(path for path, there in places.items() if not pa.types.is_struct(there[0].type))
    return Columns(text, time, name, twice, names, conversation, tuple(spoken))


def take_column(batch: pa.RecordBatch, columns: Columns, column: Column | None) -> pa.Array | None:
    """Find a column in a batch of `columns.leaves`: the roots of these are there in order, without the others."""
    if column is None or column not in columns.read:
        return None
    roots = sorted({other.way[0] for other in columns.read})
    array = batch.column(roots.index(column.way[0]))
    for depth in range(1, len(column.way)):
        siblings = {other.way[depth] for other in columns.read if other.way[:depth] == column.way[:depth]}
        array = array.flatten()[sorted(siblings).index(column.way[depth])]
    return array


def text_bytes(array: pa.Array | None) -> npt.NDArray[np.int64] | int:
    """How many bytes each cell of a column of text or bytes holds; 0 of another."""
    if array is None or not is_text(array.type) or pa.types.is_null(array.type):
        return 0
    if pa.types.is_dictionary(array.type):
        lengths = pc.binary_length(array.dictionary).take(array.indices)
    else:
        lengths = pc.binary_length(array)
    return np.asarray(lengths.fill_null(0).to_numpy(zero_copy_only=False), np.int64)


def texts(array: pa.Array) -> list[str | bytes]:
    """Read text cells: str, or bytes where they are not UTF-8; null cells are the caller's to know."""
    if pa.types.is_dictionary(array.type):
        raw = array.dictionary.cast(pa.large_binary()).take(array.indices)
    else:
        raw = array.cast(pa.large_binary())
    try:
        return list(raw.cast(pa.large_string()).to_pylist())  # checks all at once
    except pa.ArrowInvalid:
        return [_decoded(value) for value in raw.to_pylist()]


def times(array: pa.Array) -> tuple[list[Any], bool]:
    """Read a time column: (microseconds since 1970, True) if it is typed, else (values to guess, False)."""
    kind = array.type
    if pa.types.is_date(kind):
        unit, days = ("ms", False) if pa.types.is_date64(kind) else ("us", True)
        return _micros(array, DAY_US if days else UNIT_US[unit]), True
    if pa.types.is_timestamp(kind):
        return _micros(array, UNIT_US.get(kind.unit, 0)), True
    return (texts(array) if is_text(kind) and not pa.types.is_null(kind) else values(array)), False


def values(array: pa.Array) -> list[Any]:
    """Read cells as Python values: binary as bytes, text as str if it is UTF-8, what Python cannot hold as spelled."""
    kind = array.type.value_type if pa.types.is_dictionary(array.type) else array.type
    if pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind):
        return texts(array)
    try:
        return list(array.to_pylist())
    except (ValueError, OverflowError, pa.ArrowException):
        if not _is_leaf(array.type):
            return [_spelled(cell) for cell in array]
        return list(array.cast(pa.string()).to_pylist())


def _spelled(cell: pa.Scalar) -> Any:
    try:
        return cell.as_py()
    except (ValueError, OverflowError, pa.ArrowException):
        return f"<{cell.type}>"


def is_text(kind: pa.DataType) -> bool:
    """Say whether a column may hold text: strings or bytes, also behind a dictionary; or nothing but nulls."""
    kind = kind.value_type if pa.types.is_dictionary(kind) else kind
    return _is_bytes(kind) or pa.types.is_null(kind)


def _micros(array: pa.Array, unit_us: int) -> list[int | None]:
    """Turn instants into microseconds; unit_us: of their unit, 0 for nanoseconds."""
    wide = array.cast(pa.int32()).cast(pa.int64()) if pa.types.is_date32(array.type) else array.cast(pa.int64())
    numbers = wide.fill_null(0).to_numpy()
    # Beyond the years 1 to 9999 microseconds would wrap round.
    micros = np.clip(numbers, MIN_YEAR_US // unit_us, MAX_YEAR_US // unit_us) * unit_us if unit_us else numbers // 1000
    return list(pa.array(micros, mask=~wide.is_valid().to_numpy(zero_copy_only=False)).to_pylist())


def _is_bytes(kind: pa.DataType) -> bool:
    return bool(
        pa.types.is_string(kind)
        or pa.types.is_large_string(kind)
        or pa.types.is_binary(kind)
        or pa.types.is_large_binary(kind)
        or pa.types.is_fixed_size_binary(kind)
        or pa.types.is_string_view(kind)
        or pa.types.is_binary_view(kind)
    )


def _decoded(value: bytes | None) -> Any:
    try:
        return None if value is None else value.decode()
    except UnicodeDecodeError:
        return value


def _is_leaf(kind: pa.DataType) -> bool:
    return not pa.types.is_nested(kind) or pa.types.is_dictionary(kind)


def _children(kind: pa.DataType) -> Sequence[pa.Field]:
    return [kind.field(number) for number in range(kind.num_fields)]


def _leaves(kind: pa.DataType) -> int:
    return 1 if _is_leaf(kind) else sum(_leaves(child.type) for child in _children(kind))


def _below(field: pa.Field, way: tuple[int, ...], leaf: int) -> Iterator[tuple[str, Column]]:
    """Yield a field and, of a struct, all below it, with their paths."""
    name = _name(field)
    yield name, Column(way, leaf, field.type)
    if pa.types.is_struct(field.type) and len(way) < MAX_DEPTH:
        for position, child in enumerate(_children(field.type)):
            for path, column in _below(child, (*way, position), leaf):
                yield f"{name}.{path}", column
            leaf += _leaves(child.type)


def _name(field: pa.Field) -> str:
    try:
        return str(field.name)
    except UnicodeDecodeError:
        return "\N{REPLACEMENT CHARACTER}"  # a name that nobody can ask for
