"""How does a value whose schema lies in a registry become a record? The same fields, paths and fates as JSON's.

Each message is read by the schema that it was written with, so a topic may hold several; a field that an older one
lacks is absent. The decoders of a parser are made once a schema.
"""

import functools
from collections.abc import Callable, Collection, Iterator
from importlib import import_module
from typing import Any, cast

import orjson

from data_ops.conversations.fields import ConversationFields
from data_ops.conversations.messages import UnfitError
from data_ops.sources.conversation_records import RawRecord, add_conversation, refuse
from data_ops.sources.fields import Fields, RecordRows, pick
from data_ops.sources.json_records import LONG_BYTES, Parse
from data_ops.sources.kafka.registered.config import RegistryConfig
from data_ops.sources.kafka.registered.registry import SchemaRegistry, registry_of
from data_ops.sources.kafka.registered.wire import Framed, UnreadableError, unframed

Decode = Callable[[bytes, int], Any]


class Decoders:
    """The decoders of one source, by schema; fields: of a record, whose values are wanted; None: all."""

    def __init__(self, kind: str, registry: SchemaRegistry, fields: Collection[str] | None) -> None:
        self._kind, self._registry, self._fields = kind, registry, fields
        self._made: dict[tuple[int, tuple[int, ...]], Decode | UnreadableError] = {}

    def record_of(self, value: bytes) -> Any:
        """Read a value. UnreadableError where it cannot be; OSError where the registry does not answer."""
        framed = unframed(value, has_indexes=self._kind == "protobuf")
        key = framed.schema_id, framed.indexes
        if key not in self._made:
            schema = self._registry.schema(framed.schema_id, compiled=self._kind == "protobuf")
            if len(self._made) >= 1000:  # a stranger's bytes may name many messages of a schema
                self._made.clear()
            try:
                self._made[key] = self._decoder(framed, schema.kind, schema.text, schema.references)
            except UnreadableError as error:
                self._made[key] = error
        decode = self._made[key]
        if isinstance(decode, UnreadableError):
            raise UnreadableError(f"schema {framed.schema_id}: {decode}", decode.reason)
        return decode(value, framed.begin)

    def _decoder(self, framed: Framed, kind: str, text: str, references: dict[str, str]) -> Decode:
        if kind.lower() != self._kind:
            raise UnreadableError(f"it is of {kind}, and the source of format={self._kind}", "unknown_schema")
        reader = import_module(f"{__package__}.{self._kind}")  # an extra: only where it is read
        if self._kind == "avro":
            return cast(Decode, reader.avro_decoder(reader.read_avro_schema(text, references, self._fields)))
        return cast(Decode, reader.protobuf_decoder(text, references, framed.indexes, self._fields))


def registered_parser(
    kind: str, registry: RegistryConfig, fields: Fields, conversations: ConversationFields | None
) -> Parse:
    """Make the function that takes a value as a record with these fields, or as a conversation."""
    where = (fields.text,) if conversations is None else conversations
    asked = {name for path in (*where, fields.time, fields.id) if path for name in (path, path.split(".")[0])}
    decoders: list[Decoders] = []

    def parse(value: bytes, num_bytes: int, rows: RecordRows) -> None:
        if not decoders:
            decoders.append(Decoders(kind, registry_of(registry), asked))
        raw = RawRecord(value, num_bytes)
        if conversations is not None and len(value) > LONG_BYTES:
            refuse(rows, UnfitError(f"its record is over {LONG_BYTES >> 20} MiB", "long_conversation"), raw)
            return
        try:
            record = decoders[0].record_of(value)
        except UnreadableError as error:
            rows.quarantine(error.reason, f"{error}: {value[:60]!r}", num_bytes)
            return
        if type(record) is not dict:
            rows.quarantine("not_an_object", value, num_bytes)
            return
        get = functools.partial(pick, record)
        time, name = (get(path) if path else None for path in (fields.time, fields.id))
        if conversations is not None:
            add_conversation(rows, conversations, get, raw, lambda text: rows.add_untyped(text, time, name, num_bytes))
        elif type(text := get(fields.text)) is str:
            rows.add_untyped(text, time, name, num_bytes)
        else:
            rows.quarantine("missing_text" if text is None else "wrong_type", value, num_bytes)

    return parse


def as_json(kind: str, registry: RegistryConfig, values: list[bytes]) -> Iterator[bytes]:
    """Write the first values as JSON, so that their fields can be named; those that cannot be read are left out."""
    decoders = Decoders(kind, registry_of(registry), None)
    for value in values:
        try:
            yield orjson.dumps(decoders.record_of(value), default=str, option=orjson.OPT_NON_STR_KEYS)
        except (UnreadableError, TypeError):  # half a character, or an integer beyond 64 bits
            continue
