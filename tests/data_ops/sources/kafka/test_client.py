"""Does the client know a topic that was created again, and outlive its broker? A broker in a process of its own."""

import subprocess
import sys
import threading
import time
import urllib.request
from pathlib import Path

import boto3
import pytest

from data_ops.sources.kafka.client import client_of, split_name
from data_ops.sources.kafka.config import KafkaConfig
from data_ops.sources.kafka.source import KafkaSource
from data_ops.sources.protocol import ChangedError, LossError
from tests.data_ops.sources.kafka.test_source import rows_of
from tests.support.kafka.mock import produce
from tests.support.kafka.tansu import Tansu
from tests.support.runs import free_ports, wait_until

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


@pytest.fixture
def bucket():
    """Where a broker keeps what it must not forget: S3 over HTTP; its settings."""
    endpoint = f"http://127.0.0.1:{free_ports(1)[0]}"
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", endpoint.rpartition(":")[2]]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    keys = {"AWS_ACCESS_KEY_ID": "x", "AWS_SECRET_ACCESS_KEY": "x", "AWS_REGION": "us-east-1"}

    def is_up() -> bool:
        try:
            return urllib.request.urlopen(f"{endpoint}/moto-api/data.json", timeout=1).status == 200
        except OSError:
            return False

    wait_until(is_up, 60, lambda: "moto does not answer")
    client = boto3.client(
        "s3", endpoint_url=endpoint, aws_access_key_id="x", aws_secret_access_key="x", region_name="us-east-1"
    )
    client.create_bucket(Bucket="tansu")
    yield {**keys, "AWS_ENDPOINT": endpoint, "AWS_ALLOW_HTTP": "true"}
    server.kill()
    server.wait()


def test_a_broker_that_is_killed_and_started_again_is_read_on_at_our_offset(tmp_path: Path, bucket: dict[str, str]):
    """Its log lies in a bucket, so it needs more than some milliseconds to look; it tells late how far its log goes."""
    broker = Tansu(tmp_path, "s3://tansu/", **bucket)
    try:
        broker.create("docs", 1)
        source, _ = sources_of(broker)
        cursor, read, sent = {}, [], 0
        while len(read) < 25:
            produce(broker.servers, "docs", [{"text": f"text {sent}"}])
            sent += 1
            if sent == 15:
                broker.kill()
                restarted = threading.Timer(1.5, broker.start)
                restarted.start()
                found = source.discover(cursor, 100)  # asked while nobody answers
                restarted.join()
            else:
                found = source.discover(cursor, 100)
            read += [row["text"] for row in rows_of(source, found.spans)]
            cursor = found.cursor
        assert read == [f"text {n}" for n in range(len(read))] and sent > 15
        assert cursor["docs/0"][0] and cursor["docs/0"][1:3] == [len(read), len(read)]
    finally:
        broker.kill()


def test_a_login_that_is_refused_is_told_at_once_and_without_its_password(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("KAFKA_PASSWORD", "hunter2")
    broker = Tansu(tmp_path, login=True)
    try:
        login = {"protocol": "SASL_PLAINTEXT", "mechanism": "SCRAM-SHA-512", "username": "nobody"}
        config = KafkaConfig(servers=broker.servers, topics="docs", security=login)
        began = time.monotonic()
        sentence = KafkaSource("live", config).missing() or ""
        assert "the login is refused; check security.mechanism, username and password" in sentence
        assert "hunter2" not in sentence and time.monotonic() - began < 30
    finally:
        broker.kill()
