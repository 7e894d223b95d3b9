"""What does an Avro value say? Its record, by the schema it was written with; times and decimals as what they are.

Nothing of a schema runs: it is data that says how bytes follow each other. But a few lines of it may ask for endless
work, so a schema whose values have no end, or cost more than their bytes, is refused before a value is read. Of a
record only the fields that are asked for are built; the library passes over the others. A schema that names itself is
read by the library's Python half, half as fast: its compiled half ends the process where a value is nested some ten
thousand deep.
"""

import io
import json
from collections.abc import Callable, Collection, Mapping, Sequence
from decimal import Decimal
from typing import Any, NamedTuple

import fastavro
from fastavro._read_py import schemaless_reader as careful_reader
from fastavro.read import LOGICAL_READERS

from data_ops.sources.kafka.registered.wire import UnreadableError
from data_ops.sources.times import DAY_US, moment_of

OURS = "headrace-"  # before the name of a logical type that is read here
MOST_NODES = 100_000  # types that a value without any bytes goes through
MOST_DECIMAL_BYTES = 64
#: What the library may raise of a schema that is none; it has no class in common.
REFUSALS = (ValueError, TypeError, LookupError, AttributeError, RecursionError, fastavro.schema.SchemaParseException)
#: What the library may raise of a value that is none of its schema; it has no class in common.
DAMAGES = (EOFError, ValueError, TypeError, LookupError, ArithmeticError, AttributeError, StopIteration)
RESOLVED = fastavro.read.SchemaResolutionError


def avro_decoder(schema: "AvroSchema") -> Callable[[bytes, int], Any]:
    """Make the function that reads a value from a place on; it raises UnreadableError where it cannot."""
    read = careful_reader if schema.is_recursive else fastavro.schemaless_reader

    def decode(value: bytes, begin: int) -> Any:
        stream = io.BytesIO(value)
        stream.seek(begin)
        try:
            record = read(stream, schema.writer, schema.reader)
        except UnicodeDecodeError as error:
            raise UnreadableError(f"a text of it is no UTF-8 ({error.reason})", "bad_utf8") from None
        except RecursionError:
            raise UnreadableError("its records lie too deeply within each other", "too_deep") from None
        except (*DAMAGES, RESOLVED) as error:
            raise UnreadableError(f"{type(error).__name__} {' '.join(str(error).split())[:100]}", "bad_avro") from None
        if (left := len(value) - stream.tell()) > 0:
            raise UnreadableError(f"{left} bytes follow behind its end", "bad_avro")
        return record

    return decode


class AvroSchema(NamedTuple):
    """A schema to read values by: as they were written, what of it is built, and whether it names itself."""

    writer: Any
    reader: Any
    is_recursive: bool


def read_avro_schema(text: str, references: Mapping[str, str], fields: Collection[str] | None) -> AvroSchema:
    """Read a schema, and those that it refers to first; fields: of its record, which are built; None: all.

    UnreadableError (unknown_schema) where it is no schema, or one that no value can be read by.
    """
    named: dict[str, Any] = {}
    try:
        for other in references.values():
            fastavro.parse_schema(json.loads(other), named_schemas=named)
        parsed = fastavro.parse_schema(json.loads(text), named_schemas=named)
        cost = _cost(parsed, named, {}, frozenset())
        copying = _Copying(named)
        writer = fastavro.parse_schema(copying.copied(parsed, ()))
        reader = None
        if fields is not None and isinstance(parsed, dict) and parsed.get("type") == "record":
            kept = {**parsed, "fields": [field for field in parsed["fields"] if field["name"] in fields]}
            named = {**named, parsed["name"]: parsed}
            reader = fastavro.parse_schema(_Copying(named).copied(kept, ()))
    except UnreadableError:
        raise
    except REFUSALS as error:
        raise UnreadableError(f"its schema is not understood ({_said(error)})", "unknown_schema") from None
    if cost.nodes > MOST_NODES:
        raise UnreadableError(f"a value of its schema is of more than {MOST_NODES} parts", "unknown_schema")
    return AvroSchema(writer, reader, copying.is_recursive)


class _Cost(NamedTuple):
    """The least that a value of a type takes: bytes, and types that are gone through."""

    num_bytes: int
    nodes: int


SIZES = {"null": 0, "float": 4, "double": 8}


def _cost(schema: Any, named: Mapping[str, Any], costs: dict[str, _Cost | None], above: frozenset[str]) -> _Cost:
    """Tell what a value costs at least.

    costs: of the named types so far, None while one is being told. above: those that a value of which this is a part
    must have. A type that is being told and may be absent here takes a byte at least, which says whether it is absent.
    """
    if isinstance(schema, list):
        for branch in schema:
            _cost(branch, named, costs, frozenset())
        return _Cost(1, 1)
    if isinstance(schema, str):
        if schema in above:
            raise UnreadableError(f"a value of its type {schema} has no end", "unknown_schema")
        if schema in costs:
            return costs[schema] or _Cost(1, 1)
        return _cost(named[schema], named, costs, above) if schema in named else _Cost(SIZES.get(schema, 1), 1)
    kind, name = schema["type"], str(schema.get("name"))
    if kind in ("array", "map"):
        items = _cost(schema["items" if kind == "array" else "values"], named, costs, frozenset())
        if items.num_bytes == 0 and kind == "array":
            raise UnreadableError("its schema has an array of things that take no bytes", "unknown_schema")
        return _Cost(1, 1)
    if kind in ("record", "error"):
        costs[name] = None
        parts = [_cost(field["type"], named, costs, above | {name}) for field in schema["fields"]]
        costs[name] = total = _Cost(sum(part.num_bytes for part in parts), 1 + sum(part.nodes for part in parts))
        return total
    if kind in ("fixed", "enum"):
        costs[name] = total = _Cost(max(0, int(schema["size"])) if kind == "fixed" else 1, 1)
        return total
    return _cost(kind, named, costs, above)


class _Copying:
    """Copies a schema so that it needs no other: each named type in full where it stands first."""

    def __init__(self, named: Mapping[str, Any]) -> None:
        self._named = named
        self._written: set[str] = set()
        self.is_recursive = False

    def copied(self, schema: Any, above: Sequence[str]) -> Any:
        """Copy a type; above: the names of the types around it."""
        if isinstance(schema, list):
            return [self.copied(branch, above) for branch in schema]
        if isinstance(schema, str):
            if schema not in self._named:
                return schema
            if schema in self._written:
                self.is_recursive |= schema in above
                return schema
            return self.copied(self._named[schema], above)
        kind = schema["type"]
        if kind in ("record", "error"):
            self._written.add(schema["name"])
            within = (*above, schema["name"])
            fields = [{"name": f["name"], "type": self.copied(f["type"], within)} for f in schema["fields"]]
            return {"type": "record", "name": schema["name"], "fields": fields}
        if kind in ("fixed", "enum"):
            self._written.add(schema["name"])
            return _renamed({key: schema[key] for key in schema if key not in ("default", "aliases", "doc")})
        if kind in ("array", "map"):
            key = "items" if kind == "array" else "values"
            return {"type": kind, key: self.copied(schema[key], above)}
        return _renamed(schema) if isinstance(kind, str) and kind not in self._named else self.copied(kind, above)


def _renamed(schema: dict[str, Any]) -> dict[str, Any]:
    """Let a logical type be read here, or as what it is made of: the library's own readers refuse odd values."""
    plain = {key: value for key, value in schema.items() if key != "logicalType" and not key.startswith("__")}
    logical = schema.get("logicalType")
    if f"{schema['type']}-{OURS}{logical}" in LOGICAL_READERS:
        plain["logicalType"] = f"{OURS}{logical}"
    return plain


def _decimal(value: bytes, writer: Any = None, _reader: Any = None) -> Decimal | bytes:
    scale = writer.get("scale", 0) if isinstance(writer, dict) else 0
    if len(value) > MOST_DECIMAL_BYTES or not isinstance(scale, int) or not 0 <= scale <= 1000:
        return value
    return Decimal(int.from_bytes(value, "big", signed=True)).scaleb(-scale)


def _micros(factor: int, divisor: int = 1) -> Callable[..., object]:
    return lambda value, _writer=None, _reader=None: moment_of(value * factor // divisor)


LOGICAL_READERS |= {
    f"{kind}-{OURS}{name}": read
    for (kind, name), read in {
        ("int", "date"): _micros(DAY_US),
        **{("long", f"{where}timestamp-millis"): _micros(1000) for where in ("", "local-")},
        **{("long", f"{where}timestamp-micros"): _micros(1) for where in ("", "local-")},
        **{("long", f"{where}timestamp-nanos"): _micros(1, 1000) for where in ("", "local-")},
        ("bytes", "decimal"): _decimal,
        ("fixed", "decimal"): _decimal,
    }.items()
}


def _said(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:120]}"
