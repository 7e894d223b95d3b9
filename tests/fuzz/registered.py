"""Values and schemas of Avro and Protobuf for the fuzz, from a registry that has what it is fed."""

import base64
import io
import json
from contextlib import suppress
from pathlib import Path

import fastavro
from google.protobuf.descriptor_pb2 import DescriptorProto, FieldDescriptorProto, FileDescriptorProto

from data_ops.documents.reasons import QUARANTINE
from data_ops.sources.kafka.registered.avro import read_avro_schema
from data_ops.sources.kafka.registered.descriptors import message_class
from data_ops.sources.kafka.registered.records import Decoders
from data_ops.sources.kafka.registered.registry import Schema
from data_ops.sources.kafka.registered.wire import UnreadableError

AVRO: dict = {
    "type": "record",
    "name": "a.Doc",
    "fields": [
        {"name": "text", "type": ["null", "string"]},
        {"name": "at", "type": {"type": "long", "logicalType": "timestamp-millis"}},
        {"name": "price", "type": {"type": "bytes", "logicalType": "decimal", "precision": 9, "scale": 2}},
        {"name": "kind", "type": {"type": "enum", "name": "Kind", "symbols": ["A", "B"]}},
        {"name": "tags", "type": {"type": "array", "items": "string"}},
        {"name": "counts", "type": {"type": "map", "values": "int"}},
    ],
}
TREE = {**AVRO, "fields": [*AVRO["fields"], {"name": "child", "type": ["null", "a.Doc"]}]}
TEXT, LONG, MESSAGE = (getattr(FieldDescriptorProto, f"TYPE_{name}") for name in ("STRING", "INT64", "MESSAGE"))


def field(name: str, number: int, kind: int, of: str = "", *, repeated: bool = False) -> FieldDescriptorProto:
    """A field of a message."""
    return FieldDescriptorProto(name=name, number=number, type=kind, type_name=of or None, label=3 if repeated else 1)


PROTO = FileDescriptorProto(
    syntax="proto3",
    package="a",
    dependency=["google/protobuf/timestamp.proto", "google/protobuf/struct.proto"],
    message_type=[
        DescriptorProto(
            name="Doc",
            field=[
                field("text", 1, TEXT),
                field("at", 2, MESSAGE, ".google.protobuf.Timestamp"),
                field("kids", 3, MESSAGE, ".a.Doc", repeated=True),
                field("free", 4, MESSAGE, ".google.protobuf.Struct"),
                field("n", 5, LONG, repeated=True),
            ],
        )
    ],
)
DESCRIPTORS = PROTO.SerializeToString()


class OneSchema:
    """A registry in which every id is one schema."""

    def __init__(self, kind: str, text: str) -> None:
        self._schema = Schema(kind.upper(), text, {})

    def schema(self, _number: int, *, compiled: bool) -> Schema:
        """Give the schema."""
        return self._schema


def written(schema: dict, value: dict) -> bytes:
    """Write a value of Avro as it lies in a topic."""
    out = io.BytesIO(b"\0\0\0\0\1")
    out.seek(5)
    fastavro.schemaless_writer(out, fastavro.parse_schema(schema), value)
    return out.getvalue()


SAID = {
    "text": "The wheel turns.",
    "at": 1_700_000_000_000,
    "price": 12,
    "kind": "B",
    "tags": ["x"],
    "counts": {"y": 1},
}
LEAF = {**SAID, "price": b"\1\2", "child": None}
VALUES = {
    "avro": (written(PLAIN := json.loads(json.dumps(AVRO).replace("logicalType", "was")), {**SAID, "price": b"\1\2"}),),
    "tree": (written({**PLAIN, "fields": [*PLAIN["fields"], TREE["fields"][-1]]}, {**LEAF, "child": LEAF}),),
    "protobuf": (
        b"\0\0\0\0\1\0\x0a\x05wheel\x12\x06\x08\x80\xe2\xcf\xaa\x06\x1a\x02\x1a\x00*\x02\x01\x02\"\x09\x0a\x07\x0a\x01a\x12\x02\x08\x00",
        b"\0\0\0\0\1\x02\x00\x0a\x01a",
    ),
}  # fmt: skip
READERS = {
    "avro": ("avro", OneSchema("avro", json.dumps(AVRO))),
    "tree": ("avro", OneSchema("avro", json.dumps(TREE))),
    "protobuf": ("protobuf", OneSchema("protobuf", base64.b64encode(DESCRIPTORS).decode())),
}
MADE = {
    (name, whole): Decoders(kind, registry, None if whole else {"text", "at"})  # type: ignore[arg-type]
    for name, (kind, registry) in READERS.items()
    for whole in (True, False)
}


def value(name: str):
    """Feed values of a schema, as messages of a topic would be read."""

    def feed(data: bytes, _folder: Path) -> None:
        for whole in (True, False):
            try:
                MADE[name, whole].record_of(data)
            except UnreadableError as error:
                assert error.reason in QUARANTINE

    return feed


def avro_schema(data: bytes, _folder: Path) -> None:
    """Feed a schema of Avro, and read some bytes by it."""
    text = data.decode("utf-8", "replace")
    for fields in (None, {"text"}):
        with suppress(UnreadableError):
            read_avro_schema(text, {}, fields)
        with suppress(UnreadableError):
            Decoders("avro", OneSchema("avro", text), fields).record_of(VALUES["avro"][0])  # type: ignore[arg-type]


def descriptors(data: bytes, _folder: Path) -> None:
    """Feed descriptors of Protobuf, and read a value by them."""
    text = base64.b64encode(data).decode()
    for fields in (None, {"text"}):
        with suppress(UnreadableError):
            message_class(text, {}, (0,), fields)
        with suppress(UnreadableError):
            Decoders("protobuf", OneSchema("protobuf", text), fields).record_of(VALUES["protobuf"][0])  # type: ignore[arg-type]
