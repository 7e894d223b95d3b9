"""Does a Protobuf value become the fields that JSON would have, by descriptors of a registry or by its text?"""

import base64
from datetime import UTC, datetime

import pytest
from google.protobuf.descriptor_pb2 import FileDescriptorProto

from data_ops.sources.kafka.registered.config import RegistryConfig
from data_ops.sources.kafka.registered.descriptors import message_class
from data_ops.sources.kafka.registered.protobuf import protobuf_decoder
from data_ops.sources.kafka.registered.registry import SchemaRegistry
from data_ops.sources.kafka.registered.wire import UnreadableError
from tests.support.kafka.registry import FakeRegistry

pytestmark = pytest.mark.slow

AUTHOR = 'syntax = "proto3"; package people; message Author { string name = 1; }'
DOC = """
syntax = "proto3"; package news;
import "google/protobuf/timestamp.proto"; import "google/protobuf/wrappers.proto";
import "google/protobuf/struct.proto";
import "people/author.proto";
message Other { message Inner { string text = 1; } string text = 1; }
message Doc {
  enum Kind { UNKNOWN = 0; NOTE = 1; }
  string text = 1;
  optional string title = 2;
  google.protobuf.Timestamp at = 3;
  google.protobuf.StringValue url = 4;
  int64 number = 5;
  Kind kind = 6;
  repeated string tags = 7;
  map<string, int32> counts = 8;
  oneof body { string plain = 9; bytes packed = 10; }
  oneof source { string wire = 11; }
  people.Author author = 12;
  Doc parent = 13;
  google.protobuf.Struct free = 14;
}
"""
WHEN = datetime(2026, 11, 30, 12, 0, 0, 123456, UTC)


@pytest.fixture(params=[True, False], ids=["descriptors", "texts"])
def registry(request):
    registry = FakeRegistry(compiles=request.param)
    registry.register(AUTHOR, "PROTOBUF", "authors")
    registry.register(DOC, "PROTOBUF", "docs", (("people/author.proto", "authors"),))
    yield registry
    registry.close()


def schema_of(registry) -> tuple:
    schema = SchemaRegistry(RegistryConfig(url=registry.url)).schema(2, compiled=True)
    return schema.text, schema.references


def class_of(registry, indexes=(1,)):
    return message_class(*schema_of(registry), indexes, None)


def decoder_of(registry, fields=None):
    return protobuf_decoder(*schema_of(registry), (1,), fields)


def test_fields_have_their_names_of_the_file_and_say_whether_they_are_there(registry):
    doc = class_of(registry)
    said = doc(text="t", number=2**62, kind=1, tags=["a", "b"], counts={"x": 1}, packed=b"\xff", author={"name": "Ann"})
    said.at.FromDatetime(WHEN)
    said.url.value = "https://a"
    said.parent.text = "p"
    said.free.update({"a": [1, {"b": None}]})
    read = decoder_of(registry)(b"12345\0" + said.SerializeToString(), 6)
    parent = read.pop("parent")
    assert parent["text"] == "p" and parent["at"] is None and parent["number"] == 0 and parent["tags"] == []
    assert read == {
        "text": "t",
        "title": None,
        "at": WHEN,
        "url": "https://a",
        "number": 2**62,
        "kind": "NOTE",
        "tags": ["a", "b"],
        "counts": {"x": 1},
        "plain": None,
        "packed": b"\xff",
        "wire": None,
        "author": {"name": "Ann"},
        "free": {"a": [1.0, {"b": None}]},
    }


def test_only_the_fields_that_are_asked_for_are_read(registry):
    said = class_of(registry)(text="t", plain="p", wire="w", title="a", author={"name": "Ann"}).SerializeToString()
    for fields in ({"text"}, {"packed", "wire", "text"}, {"title", "author"}, {"absent"}):
        read = decoder_of(registry, fields)(said, 0)
        whole = decoder_of(registry)(said, 0)
        assert read == {name: whole[name] for name in fields if name != "absent"}


def test_the_message_is_the_one_whose_place_the_value_tells(registry):
    assert class_of(registry, (0,)).DESCRIPTOR.full_name == "news.Other"
    assert class_of(registry, (0, 0)).DESCRIPTOR.full_name == "news.Other.Inner"
    for strange in ((7,), (0, 3), (0, 0, 0)):
        with pytest.raises(UnreadableError, match="has no message") as caught:
            class_of(registry, strange)
        assert caught.value.reason == "unknown_schema"


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (b"\x0a\x05ab", "bad_protobuf"),
        (b"\x0a\x02\xff\xfe", "bad_utf8"),
        (b"\xff" * 20, "bad_protobuf"),
        (b"\x0f", "bad_protobuf"),
    ],
)
def test_a_damaged_value_is_told_with_a_reason(registry, raw, reason):
    with pytest.raises(UnreadableError) as caught:
        decoder_of(registry)(raw, 0)
    assert caught.value.reason == reason


def test_a_value_that_is_nested_too_deeply_is_told(registry):
    deep = class_of(registry)(text="t").SerializeToString()
    for _ in range(120):
        deep = b"\x6a" + _varint(len(deep)) + deep
    with pytest.raises(UnreadableError) as caught:
        decoder_of(registry)(deep, 0)
    assert caught.value.reason == "too_deep"


def _varint(number: int) -> bytes:
    return bytes([number]) if number < 128 else bytes([number & 127 | 128]) + _varint(number >> 7)


def test_a_time_beyond_all_years_is_a_text_that_is_none(registry):
    doc = class_of(registry)
    said = doc()
    said.at.seconds = 2**60
    assert str(decoder_of(registry)(said.SerializeToString(), 0)["at"]).endswith(" microseconds since 1970")


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("message {", "not understood"),
        ('syntax = "proto3"; import "absent.proto"; message A { string a = 1; }', "absent.proto"),
        ('syntax = "proto3"; message A { Absent a = 1; }', "not defined"),
        ("message A {" * 5000, "not understood"),
    ],
)
def test_a_text_that_is_no_schema_is_refused_and_ends_no_process(text, why):
    with pytest.raises(UnreadableError, match=why) as caught:
        message_class(text, {}, (0,), None)
    assert caught.value.reason == "unknown_schema"


@pytest.mark.parametrize("name", ["../up.proto", "/etc/up.proto", "a\\b.proto", "passwd"])
def test_a_reference_names_no_file_outside(name):
    with pytest.raises(UnreadableError, match="no name of a file"):
        message_class('syntax = "proto3"; message A {}', {name: AUTHOR}, (0,), None)


def encoded(**file) -> str:
    return base64.b64encode(FileDescriptorProto(**file).SerializeToString()).decode()


def test_descriptors_that_hang_together_wrongly_are_refused():
    circle = {"a.proto": encoded(name="a.proto", dependency=["a.proto"])}
    doc = {"message_type": [{"name": "A", "field": [{"name": "x", "number": 1, "label": 1, "type": 11}]}]}
    for text, references, why in (
        (encoded(dependency=["a.proto"], message_type=[{"name": "A"}]), circle, "in a circle"),
        (encoded(dependency=["google/type/date.proto"], message_type=[{"name": "A"}]), {}, "does not give"),
        (encoded(dependency=["google/protobuf/../x.proto"], message_type=[{"name": "A"}]), {}, "does not give"),
        (encoded(**doc), {}, "not understood"),
    ):
        with pytest.raises(UnreadableError, match=why):
            message_class(text, references, (0,), None)
