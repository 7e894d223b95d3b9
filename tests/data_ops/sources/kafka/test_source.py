"""Does a Kafka topic give each of its messages once, as what it is, from a broker that speaks its protocol?"""

import json
import pickle
import re
from dataclasses import replace
from datetime import UTC, datetime
from threading import Timer

import confluent_kafka as ck
import pytest

from data_ops.sources.kafka.config import KafkaConfig
from data_ops.sources.kafka.source import KafkaSource
from data_ops.sources.protocol import ChangedError, LossError
from tests.support.kafka.mock import MockKafka, produce

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def broker():
    broker = MockKafka(2)
    yield broker
    broker.close()


@pytest.fixture
def topic(broker, request) -> str:
    """A topic of the test's own, of three partitions."""
    name = re.sub(r"\W", "_", request.node.name)[-80:]
    broker.create(name, 3)
    return name


def source_of(broker, topic, **keys) -> KafkaSource:
    return KafkaSource("live", KafkaConfig(servers=broker.servers, topics=topic, **keys))


def rows_of(source, spans) -> list[dict]:
    return [
        {**row, "at": f"{span.partition}+{row['offset']}"}
        for span in spans
        for batch in source.read(span)
        for row in batch.to_pylist()
    ]


def all_of(source, most=10**6) -> list[dict]:
    cursor, rows = {}, []
    while True:
        found = source.discover(json.loads(json.dumps(cursor)), most)
        rows += rows_of(pickle.loads(pickle.dumps(source)), found.spans)  # noqa: S301
        if found.drained and not found.spans:
            return rows
        cursor = found.cursor


def test_every_message_of_every_partition_comes_once_in_windows_of_any_size(broker, topic):
    for number in range(3):
        produce(broker.servers, topic, ({"text": f"{number}:{n}"} for n in range(20 + 7 * number)), number)
    source = source_of(broker, topic)
    whole = all_of(source)
    assert len({row["text"] for row in whole}) == len(whole) == 81
    for most in (7, 50):
        pieces = all_of(source, most)
        assert sorted(pieces, key=lambda row: row["at"]) == sorted(whole, key=lambda row: row["at"])
        for number in range(3):
            mine = [row["text"] for row in pieces if row["at"].startswith(f"{topic}/{number}+")]
            assert mine == [f"{number}:{n}" for n in range(20 + 7 * number)], "a partition keeps its order"


def test_a_window_takes_an_equal_share_of_every_partition(broker, topic):
    for number in range(3):
        produce(broker.servers, topic, ({"text": "a"} for _ in range(30 if number else 2)), number)
    found = source_of(broker, topic).discover({}, 12)
    spans = found.spans
    assert (found.num_behind, found.drained) == (62 - 12, False)
    assert [(span.partition[-1], span.num_records) for span in spans] == [("0", 2), ("1", 5), ("2", 5)]


def test_text_time_and_id_come_from_the_object_or_from_the_message(broker, topic):
    produce(
        broker.servers,
        topic,
        [{"meta": {"text": "deep", "at": "2023-05-06", "n": 7}}],
        timestamp=1_700_000_000_123,
        key=b"doc-1",
        headers={"url": "https://a.example/1", "seen": "2024-01-02T03:04:05Z"},
    )
    (row,) = all_of(source_of(broker, topic, text="meta.text"))
    assert (row["text"], row["external_id"]) == ("deep", f"{topic}/0/0")
    assert row["event_time"] == datetime.fromtimestamp(1_700_000_000.123, UTC)
    (row,) = all_of(source_of(broker, topic, text="meta.text", time="meta.at", id="meta.n"))
    assert (row["event_time"].date().isoformat(), row["external_id"]) == ("2023-05-06", "7")
    (row,) = all_of(source_of(broker, topic, text="meta.text", time="kafka.header.seen", id="kafka.header.url"))
    assert (row["event_time"].isoformat(), row["external_id"]) == ("2024-01-02T03:04:05+00:00", "https://a.example/1")
    (row,) = all_of(source_of(broker, topic, text="meta.text", time="kafka.header.url", id="kafka.key"))
    assert (row["event_time"], row["time_note"], row["external_id"]) == (None, "not_understood", "doc-1")


def test_what_is_wrong_with_a_message_quarantines_only_that_one_and_says_which(broker, topic):
    values = [b"{", {"text": "good"}, {"txt": 1}, b"\xff", None, {"text": "x" * 100}]
    produce(broker.servers, topic, values)
    rows = all_of(source_of(broker, topic, max_record_bytes=64))
    assert [row["error"] for row in rows] == [
        "bad_json",
        None,
        "missing_text",
        "bad_utf8",
        "tombstone",
        "oversized",
    ]
    assert [row["external_id"] for row in rows] == [f"{topic}/0/{n}" for n in range(6)]
    assert all(row["event_time"] is not None for row in rows)


@pytest.mark.parametrize(("kind", "texts"), [("text", ["a b", None, "{}"]), ("bytes", ["a b", "\ufffd!", "{}"])])
def test_values_may_be_texts_as_they_stand(broker, topic, kind, texts):
    produce(broker.servers, topic, [b"a b", b"\xff!", b"{}"])
    rows = all_of(source_of(broker, topic, format=kind))
    assert [row["text"] if row["error"] is None else None for row in rows] == texts


def test_messages_and_partitions_that_come_later_are_read_behind_the_cursor(broker, topic):
    source = source_of(broker, topic)
    produce(broker.servers, topic, [{"text": "one"}])
    cursor = source.discover({}, 9).cursor
    assert source.discover(cursor, 9).spans == [] and source.discover(cursor, 9).drained
    produce(broker.servers, topic, [{"text": "two"}], 0)
    produce(broker.servers, topic, [{"text": "three"}], 2)
    without = {name: entry for name, entry in cursor.items() if not name.endswith("/2")}  # as if it were new
    assert [row["text"] for row in rows_of(source, source.discover(without, 9).spans)] == ["two", "three"]


def test_a_span_is_read_alike_wherever_it_begins_and_however_often(broker, topic):
    produce(broker.servers, topic, ({"text": str(n)} for n in range(300)))
    source = source_of(broker, topic)
    (span,) = source.discover({}, 1000).spans
    for start, count in [(0, 300), (250, 50), (10, 3), (299, 1), (100, 150), (0, 1)] * 2:
        part = replace(span, first_record=start, num_records=count, start=start, end=start + count)
        assert [row["text"] for row in rows_of(source, [part])] == [str(n) for n in range(start, start + count)]


def test_a_trimmed_log_stops_until_the_loss_is_accepted_and_is_then_written_down(broker, topic):
    produce(broker.servers, topic, ({"text": str(n)} for n in range(30)))
    stops, goes_on = source_of(broker, topic), source_of(broker, topic, on_loss="continue")
    found = stops.discover({}, 10)
    broker.trim(topic, 0, 25)
    with pytest.raises(LossError, match=rf"offsets 10 to 24 of {topic}/0 were removed .* sources.live.on_loss=contin"):
        stops.discover(found.cursor, 10)
    with pytest.raises(LossError, match="have its places quarantined"):
        rows_of(stops, found.spans)
    with pytest.raises(ChangedError, match="not in the log any more"):
        rows_of(goes_on, found.spans)
    loss, span = goes_on.discover(found.cursor, 10).spans
    assert (loss.loss, loss.num_records, loss.end - loss.start) == ("trimmed", 0, 15)
    assert [row["text"] for row in rows_of(goes_on, [span])] == [str(n) for n in range(25, 30)]
    assert (span.first_record, span.num_records) == (10, 5)


@pytest.mark.slow
def test_a_cluster_that_goes_down_while_a_span_is_read_and_comes_back_loses_nothing(broker, topic):
    produce(broker.servers, topic, ({"text": str(n)} for n in range(50)))
    source = source_of(broker, topic)
    (span,) = source.discover({}, 100).spans
    broker.stop()
    try:
        reading = source.read(span)
        Timer(1.5, broker.start).start()
        assert [row["text"] for batch in reading for row in batch.to_pylist()] == [str(n) for n in range(50)]
    finally:
        broker.start()


def test_a_group_is_told_how_far_we_are_and_never_asked(broker, topic):
    produce(broker.servers, topic, ({"text": str(n)} for n in range(9)))
    source = source_of(broker, topic, group="watchers")
    after = source.discover({}, 4).cursor
    source.acknowledge(after)
    watcher = ck.Consumer({"bootstrap.servers": broker.servers, "group.id": "watchers", "log_level": 0})
    (committed,) = watcher.committed([ck.TopicPartition(topic, 0)], timeout=10)
    watcher.close()
    assert committed.offset == 4
    assert source.discover({}, 100).spans[0].start == 0


def test_a_topic_that_is_not_there_is_told_with_the_nearest_and_may_be_waited_for(broker, topic):
    produce(broker.servers, topic, [{"text": "a"}])
    sentence = source_of(broker, topic + "s").missing() or ""
    assert f"has no topic {topic}s; did you mean {topic}?" in sentence and "sources.live.wait=true" in sentence
    waiting = source_of(broker, topic + "s", wait=True)
    found = waiting.discover({}, 9)
    assert waiting.missing() is None and waiting.config.waits and (found.spans, found.drained) == ([], True)
    assert "there is no topic" in found.warnings[0]
    broker.create(topic + "s")
    produce(broker.servers, topic + "s", [{"text": "late"}])
    assert [row["text"] for row in all_of(waiting)] == ["late"]


def test_fields_of_the_first_messages_are_named_with_what_else_may_be_asked_for(broker, topic):
    produce(broker.servers, topic, [{"meta": {"text": "a"}, "at": 1}], 1, headers={"url": "u"})
    there = source_of(broker, topic).fields_there()
    assert there == ("meta.text", "at", "kafka.key", "kafka.offset", "kafka.timestamp", "kafka.header.url")
    assert source_of(broker, topic, format="text").fields_there() == ()


@pytest.mark.slow
def test_a_broker_that_is_not_there_is_told_in_a_sentence():
    sentence = KafkaSource("live", KafkaConfig(servers="127.0.0.1:1", topics="docs")).missing() or ""
    assert sentence.startswith("sources.live.topics=docs: no Kafka broker answers at 127.0.0.1:1 within 10 s (")
    assert "Connection refused" in sentence and "\n" not in sentence
