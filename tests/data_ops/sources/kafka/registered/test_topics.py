"""Does a topic of Avro or Protobuf, as Confluent's own serializers write it, give each of its messages once?"""

import json
import re
from datetime import UTC, datetime
from threading import Timer

import pytest
import yaml

from cluster.storage.store import Store
from data_ops.audit.account import account
from data_ops.lake.lake import Lake
from data_ops.sources.first_look import first_look
from data_ops.sources.kafka.config import KafkaConfig
from data_ops.sources.kafka.registered.config import RegistryConfig
from data_ops.sources.kafka.registered.descriptors import message_class
from data_ops.sources.kafka.registered.registry import SchemaRegistry
from data_ops.sources.kafka.source import KafkaSource
from data_ops.sources.quarantine import read_span
from ray_jobs.commands.doctor import look_at_sources
from ray_jobs.commands.init import propose
from ray_jobs.config.reading import read_config
from ray_jobs.outcome import ConfigError
from tests.data_ops.sources.kafka.registered.test_avro import logical, record, written
from tests.data_ops.sources.kafka.test_ingest import config_of, take_in
from tests.support.kafka.mock import MockKafka, produce
from tests.support.kafka.registry import FakeRegistry

pytest.importorskip("authlib")  # which the serializers need
from confluent_kafka.schema_registry import SchemaRegistryClient
from confluent_kafka.schema_registry.avro import AvroSerializer
from confluent_kafka.schema_registry.protobuf import ProtobufSerializer
from confluent_kafka.serialization import MessageField, SerializationContext

pytestmark = pytest.mark.slow
WHEN = datetime(2026, 11, 30, 12, 0, tzinfo=UTC)
OLD = record(("text", "string"), ("meta", record(("at", logical("long", "timestamp-millis")), name="Meta")))
NEW = record(
    ("note", ["null", "string"]),
    ("text", ["null", "string", "int"]),
    ("meta", record(("at", ["null", logical("long", "timestamp-micros")]), ("n", logical("string", "uuid")), name="M")),
)
PROTO = """
syntax = "proto3"; package news; import "google/protobuf/timestamp.proto";
message Before { string x = 1; }
message Doc { message Meta { google.protobuf.Timestamp at = 1; int64 n = 2; } optional string text = 1; Meta meta = 2; }
"""


@pytest.fixture(scope="module")
def broker():
    broker = MockKafka()
    yield broker
    broker.close()


@pytest.fixture
def topic(broker, request) -> str:
    """A topic of the test's own."""
    name = re.sub(r"\W", "_", request.node.name)[-40:]
    broker.create(name)
    return name


@pytest.fixture
def registry():
    registry = FakeRegistry()
    yield registry
    registry.close()


def source_of(broker, topic, registry, kind="avro", **keys) -> KafkaSource:
    given = {"time": "meta.at", **keys}
    return KafkaSource(
        "live", KafkaConfig(servers=broker.servers, topics=topic, format=kind, registry=registry.url, **given)
    )


def rows_of(source) -> list[dict]:
    spans = source.discover({}, 10**6).spans
    return [row for span in spans for batch in read_span(source, span) for row in batch.to_pylist()]


def avro(registry, topic, schema, value) -> bytes:
    serialize = AvroSerializer(SchemaRegistryClient({"url": registry.url}), schema)
    return serialize(value, SerializationContext(topic, MessageField.VALUE))


def framed(number: int, raw: bytes) -> bytes:
    return b"\0" + number.to_bytes(4, "big") + raw


def test_messages_of_two_schemas_of_avro_in_one_topic_are_read_each_by_its_own(broker, topic, registry):
    values = [
        avro(registry, topic, json.dumps(OLD), {"text": "old", "meta": {"at": WHEN}}),
        avro(registry, topic, json.dumps(NEW), {"note": "x", "text": "new", "meta": {"at": WHEN, "n": "00-7"}}),
        avro(registry, topic, json.dumps(NEW), {"note": None, "text": None, "meta": {"at": None, "n": "a"}}),
        avro(registry, topic, json.dumps(NEW), {"note": None, "text": 7, "meta": {"at": None, "n": "a"}}),
    ]
    produce(broker.servers, topic, values)
    rows = rows_of(source_of(broker, topic, registry, id="meta.n"))
    assert [(row["error"], row["text"] if row["error"] is None else "") for row in rows] == [
        (None, "old"),
        (None, "new"),
        ("missing_text", ""),
        ("wrong_type", ""),
    ]
    assert [row["event_time"] for row in rows[:2]] == [WHEN, WHEN]
    assert [row["external_id"] for row in rows] == [None, "00-7", f"{topic}/0/2", f"{topic}/0/3"]


@pytest.mark.parametrize("compiles", [True, False])
def test_messages_of_protobuf_are_read_by_descriptors_or_by_the_text(broker, topic, registry, compiles):
    registry.compiles = compiles
    registry.register(PROTO, "PROTOBUF", "docs")
    schema = SchemaRegistry(RegistryConfig(url=registry.url)).schema(1, compiled=False)
    doc = message_class(schema.text, {}, (1,), None)
    said = doc(text="said", meta={"n": 7})
    said.meta.at.FromDatetime(WHEN)
    values = [framed(1, b"\x02\x02" + said.SerializeToString()), framed(1, b"\x02\x02")]
    if compiles:  # what Confluent's serializer registers is compiled; a registry makes a text of it
        client = SchemaRegistryClient({"url": registry.url})
        serialize = ProtobufSerializer(doc, client, {"use.deprecated.format": False})
        values.append(serialize(said, SerializationContext(topic, MessageField.VALUE)))
    produce(broker.servers, topic, values)
    rows = rows_of(source_of(broker, topic, registry, "protobuf", id="meta.n"))
    good = [(None, "said", WHEN, "7")]
    assert [(row["error"], row["text"], row["event_time"], row["external_id"]) for row in rows[::2]] == (
        good * (1 + compiles)
    )
    assert (rows[1]["error"], rows[1]["external_id"]) == ("missing_text", f"{topic}/0/1")


def test_what_cannot_be_read_is_quarantined_under_its_place_and_harms_nobody(broker, topic, registry):
    number = registry.register(OLD)
    other = registry.register(PROTO, "PROTOBUF")
    damaged = registry.register({"type": "record"})
    good = written(OLD, {"text": "good", "meta": {"at": WHEN}})
    values = [
        framed(number, good),
        b'{"text": "json"}',
        framed(99, good),
        framed(other, good),
        framed(damaged, good),
        framed(number, good[:-2]),
        framed(number, b"\x04\xff\xff\x00"),
        None,
        framed(registry.register('"string"'), b"\x02a"),
        framed(number, good),
    ]
    produce(broker.servers, topic, values)
    source = source_of(broker, topic, registry)
    rows = rows_of(source)
    assert [row["error"] for row in rows] == [
        None,
        "no_schema_id",
        "unknown_schema",
        "unknown_schema",
        "unknown_schema",
        "bad_avro",
        "bad_utf8",
        "tombstone",
        "not_an_object",
        None,
    ]
    assert [row["external_id"] for row in rows] == [f"{topic}/0/{n}" for n in range(10)]
    assert "knows no schema 99" in rows[2]["text"] and "it is of PROTOBUF, and the source of" in rows[3]["text"]
    assert rows == rows_of(source), "a second look gives the same"


def test_conversations_are_read_from_avro_too(broker, topic, registry):
    talk = record(("role", "string"), ("content", "string"), name="Talk")
    schema = record(("turns", {"type": "array", "items": talk}), ("other", "int"))
    said = [{"role": "user", "content": "Who?"}, {"role": "assistant", "content": "The mill."}]
    value = framed(registry.register(schema), written(schema, {"turns": said, "other": 3}))
    produce(broker.servers, topic, [value])
    (row,) = rows_of(source_of(broker, topic, registry, objective="instruct", messages="turns", time="kafka.timestamp"))
    assert row["error"] is None and "The mill." in row["text"]


def test_fields_are_named_and_a_wrong_one_is_told_before_anything_is_read(broker, topic, registry):
    value = written(NEW, {"note": None, "text": "t", "meta": {"at": WHEN, "n": "a"}})
    produce(broker.servers, topic, [framed(registry.register(NEW), value)], headers={"url": "u"})
    source = source_of(broker, topic, registry)
    named = ("note", "text", "meta.at", "meta.n", "kafka.key", "kafka.offset", "kafka.timestamp", "kafka.header.url")
    assert source.fields_there() == named and source.missing() is None
    assert first_look("live", source.config).sample == f"{topic}/0: 2026-11-30 12:00:00 UTC, id {topic}/0/0, text 't'"
    wrong = source.config.model_copy(update={"time": "meta.att"})
    assert "no record has the field 'meta.att'" in (first_look("live", wrong).problem or "")
    (check,) = look_at_sources({"live": source.config})
    assert check.state == "ok" and "text 't'" in check.found


def test_a_registry_that_is_not_there_or_refuses_is_one_sentence_before_a_run(broker, topic, registry, monkeypatch):
    source = source_of(broker, topic, registry)
    registry.login = "key:secret"
    sentence = source.missing() or ""
    assert sentence.startswith(f"sources.live.topics={topic}: the schema registry at {registry.url} refuses us")
    (check,) = look_at_sources({"live": source.config})
    assert check.state == "fail" and "refuses us" in check.found
    registry.close()
    registry.login = ""
    gone = source_of(broker, topic, registry).missing() or ""
    assert "no schema registry answers at" in gone and "\n" not in gone


def test_a_registry_that_is_away_while_a_topic_is_taken_in_loses_no_offset(tmp_path, broker, topic, registry):
    number, later = registry.register(OLD), registry.register(NEW)
    for n in range(40):
        at = {"at": WHEN, "n": "a"}
        text = f"Document {n} tells of the wheel, of the mill and of the water that turns them."
        schema = (number, OLD) if n < 30 else (later, NEW)
        value = framed(schema[0], written(schema[1], {"text": text, "meta": at, "note": None}))
        produce(broker.servers, topic, [value])
    keys = {"topics": topic, "text": "text", "format": "avro", "registry": registry.url}
    registry.fails = 10**6  # from the first question on: nothing may be taken for lost
    Timer(2.0, lambda: setattr(registry, "fails", 0)).start()
    take_in(config := config_of(tmp_path, broker, **keys))
    lake = Lake(Store.open(config.store))
    audit = account(lake, "headrace")
    assert (audit.read, audit.lost, audit.repeated, audit.problems) == (40, 0, 0, [])
    rows = lake.documents(0, lake.last_window())
    assert sorted(rows["external_id"].to_pylist()) == sorted(f"{topic}/0/{n}" for n in range(40))
    assert set(rows["fate"].to_pylist()) == {"kept"}


def test_init_proposes_what_is_read_of_topics_and_says_what_it_needs(broker, topic, registry):
    produce(broker.servers, topic, [framed(registry.register(OLD), written(OLD, {"text": "t", "meta": {"at": WHEN}}))])
    url = f"kafka://{broker.servers}/{topic}"
    with pytest.raises(ConfigError, match=r"begin as those of a schema registry; name it: kafka:.*\?registry=https"):
        propose(url)
    text = propose(f"{url}?registry={registry.url}").text
    (source,) = yaml.safe_load(text)["sources"].values()
    assert source["format"] == "avro" and source["registry"] == registry.url and "text" not in source
    (label,) = (config := read_config([], [f"sources.live={json.dumps(source)}"])).sources
    assert first_look(label, config.sources[label]).problem is None
    for strange, sentence in (
        (f"{url}s", f"the cluster has no topic {topic}s; did you mean {topic}?"),
        (f"{url}?registry=http://127.0.0.1:1", "the network failed|no schema registry answers"),
        (f"{url}?registry=ftp://a", "is no address of a registry"),
        (f"kafka://me:pw@{broker.servers}/a", "a login has no place in a URL"),
        (f"kafka://{broker.servers}/", "names no topic; write kafka://"),
    ):
        with pytest.raises(ConfigError, match=re.escape(sentence) if "|" not in sentence else sentence):
            propose(strange)


def test_init_proposes_json_and_texts_of_topics(broker, topic):
    produce(broker.servers, topic, [{"doc": {"body": "b", "created_at": "2026-11-30"}, "url": "u"}])
    (source,) = yaml.safe_load(propose(f"kafka://{broker.servers}/{topic}").text)["sources"].values()
    mapped = {"format": "json", "text": "doc.body", "time": "doc.created_at", "id": "url"}
    assert source == {"kind": "kafka", "servers": broker.servers, "topics": topic, **mapped}
    broker.create(f"{topic}2")
    produce(broker.servers, f"{topic}2", [b"plain words"])
    (source,) = yaml.safe_load(propose(f"kafka://{broker.servers}/{topic}2").text)["sources"].values()
    assert source["format"] == "text"
