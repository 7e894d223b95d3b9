"""Does the client know a topic that was created again? A real broker in a process of its own."""

from pathlib import Path

import pytest

from data_ops.sources.kafka.client import client_of, split_name
from data_ops.sources.kafka.config import KafkaConfig
from data_ops.sources.kafka.source import KafkaSource
from data_ops.sources.protocol import ChangedError, LossError
from tests.data_ops.sources.kafka.test_source import rows_of
from tests.support.kafka.mock import produce
from tests.support.kafka.tansu import Tansu

pytestmark = pytest.mark.slow


@pytest.fixture
def broker(tmp_path: Path):
    broker = Tansu(tmp_path)
    yield broker
    broker.kill()


def sources_of(broker: Tansu) -> tuple[KafkaSource, KafkaSource]:
    """A source that stops at a loss, and one that goes on."""
    config = KafkaConfig(servers=broker.servers, topics="docs")
    return KafkaSource("live", config), KafkaSource("live", config.model_copy(update={"on_loss": "continue"}))


def test_a_topic_that_was_created_again_is_a_loss_even_if_it_holds_more_than_before(broker: Tansu):
    broker.create("docs", 2)
    produce(broker.servers, "docs", ({"text": f"old {n}"} for n in range(10)))
    stops, goes_on = sources_of(broker)
    found = stops.discover({}, 6)
    old_id = found.cursor["docs/0"][0]
    assert old_id and found.cursor["docs/0"] == [old_id, 6, 6, 10] and found.spans[0].mark == old_id
    broker.delete("docs")
    broker.create("docs", 2)
    produce(broker.servers, "docs", ({"text": f"new {n}"} for n in range(20)))
    with pytest.raises(LossError, match="the topic of docs/0 was deleted and created again after offset 6 was reached"):
        stops.discover(found.cursor, 100)
    with pytest.raises(LossError, match="topic docs was deleted and created again after docs/0 was planned"):
        rows_of(stops, found.spans)
    with pytest.raises(ChangedError):
        rows_of(goes_on, found.spans)
    again = goes_on.discover(found.cursor, 100)
    losses = [(s.partition, s.start, s.end, s.loss) for s in again.spans if s.loss]
    assert losses == [("docs/0", 6, 10, "created_again"), ("docs/1", 0, 0, "created_again")]
    (span,) = [span for span in again.spans if not span.loss]
    assert [row["text"] for row in rows_of(goes_on, [span])] == [f"new {n}" for n in range(20)]
    assert (span.first_record, span.start) == (6, 0) and span.mark not in ("", old_id)


def test_a_cluster_is_asked_over_one_client_whatever_the_topics(broker: Tansu):
    config = KafkaConfig(servers=broker.servers, topics="docs")
    assert client_of(config) is client_of(config.model_copy(update={"topics": ("other",), "text": "body"}))
    assert client_of(config) is not client_of(config.model_copy(update={"group": "mine"}))
    assert split_name("a/b/12") == ("a/b", 12)
