"""What only a real broker can show: transactions. Run where HEADRACE_KAFKA names one, for example in a container."""

import os
import uuid

import confluent_kafka as ck
import pytest
from confluent_kafka.admin import AdminClient, NewTopic

from data_ops.sources.kafka.config import KafkaConfig
from data_ops.sources.kafka.source import KafkaSource
from tests.data_ops.sources.kafka.test_source import all_of

SERVERS = os.environ.get("HEADRACE_KAFKA", "")
pytestmark = pytest.mark.skipif(not SERVERS, reason="HEADRACE_KAFKA names no broker")


@pytest.fixture
def topic():
    name, admin = f"headrace-{uuid.uuid4().hex[:8]}", AdminClient({"bootstrap.servers": SERVERS})
    admin.create_topics([NewTopic(name, 1, 1)])[name].result(30)
    yield name
    admin.delete_topics([name])[name].result(30)


def test_aborted_messages_and_markers_are_places_without_a_record_and_an_open_transaction_is_waited_for(topic: str):
    source = KafkaSource("live", KafkaConfig(servers=SERVERS, topics=topic, format="text"))
    producer = ck.Producer({"bootstrap.servers": SERVERS, "transactional.id": topic})
    producer.init_transactions(30)
    for number, commits in enumerate((True, False, True)):
        producer.begin_transaction()
        for part in range(3):
            producer.produce(topic, f"{number}:{part}")
        producer.flush(30)
        assert all(row["text"][:1] != str(number) for row in all_of(source)), "an open transaction is not shown"
        (producer.commit_transaction if commits else producer.abort_transaction)(30)
    rows = all_of(source)
    texts = [row["text"] for row in rows if row["error"] is None]
    assert texts == ["0:0", "0:1", "0:2", "2:0", "2:1", "2:2"]
    assert [row["offset"] for row in rows] == list(range(12)), "three markers and three aborted messages have places"
    assert sum(row["error"] == "no_record" for row in rows) == 6
