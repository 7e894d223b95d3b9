"""A broker that speaks Kafka's protocol within a test: the mock cluster of librdkafka, with the faults it can play.

It listens on real sockets, so that other processes read from it too. It keeps nothing, tells no ids of topics, knows no
logins, and drops old records of a partition beyond some 5 MiB.
"""

import ctypes as c
import importlib.metadata
from collections.abc import Iterable

import confluent_kafka as ck
import orjson

VOID = c.c_void_p
CALLS = {
    "rd_kafka_conf_new": (VOID, []),
    "rd_kafka_new": (VOID, [c.c_int, VOID, c.c_char_p, c.c_size_t]),
    "rd_kafka_conf_set": (c.c_int, [VOID, c.c_char_p, c.c_char_p, c.c_char_p, c.c_size_t]),
    "rd_kafka_destroy": (None, [VOID]),
    "rd_kafka_mock_cluster_new": (VOID, [VOID, c.c_int]),
    "rd_kafka_mock_cluster_destroy": (None, [VOID]),
    "rd_kafka_mock_cluster_bootstraps": (c.c_char_p, [VOID]),
    "rd_kafka_mock_topic_create": (c.c_int, [VOID, c.c_char_p, c.c_int, c.c_int]),
    "rd_kafka_mock_broker_set_down": (c.c_int, [VOID, c.c_int32]),
    "rd_kafka_mock_broker_set_up": (c.c_int, [VOID, c.c_int32]),
    "rd_kafka_mock_partition_delete_records": (c.c_int, [VOID, c.c_char_p, c.c_int32, c.c_int64]),
}


class MockKafka:
    """A cluster of so many brokers; `servers` is where they listen."""

    def __init__(self, brokers: int = 1) -> None:
        (library,) = [f for f in importlib.metadata.files("confluent-kafka") or () if f.name.startswith("librdkafka-")]
        self._library = c.CDLL(str(library.locate()))
        for name, (result, arguments) in CALLS.items():
            call = getattr(self._library, name)
            call.restype, call.argtypes = result, arguments
        conf, error = self._call("conf_new"), c.create_string_buffer(512)
        self._call("conf_set", conf, b"log_level", b"0", error, 512)
        self._handle = self._call("new", 0, conf, error, 512)
        self._cluster = self._call("mock_cluster_new", self._handle, brokers)
        self.brokers = range(1, brokers + 1)
        self.servers = self._call("mock_cluster_bootstraps", self._cluster).decode()

    def _call(self, name: str, *arguments):
        return getattr(self._library, f"rd_kafka_{name}")(*arguments)

    def create(self, topic: str, partitions: int = 1) -> None:
        """Make a topic."""
        assert self._call("mock_topic_create", self._cluster, topic.encode(), partitions, 1) == 0

    def trim(self, topic: str, number: int, before: int) -> None:
        """Delete what a partition holds before an offset, as retention does."""
        assert self._call("mock_partition_delete_records", self._cluster, topic.encode(), number, before) == 0

    def stop(self) -> None:
        """Let all brokers go down: connections are cut, and none is taken."""
        for broker in self.brokers:
            self._call("mock_broker_set_down", self._cluster, broker)

    def start(self) -> None:
        """Let the brokers come up again, with what they held."""
        for broker in self.brokers:
            self._call("mock_broker_set_up", self._cluster, broker)

    def close(self) -> None:
        """End the cluster."""
        self._call("mock_cluster_destroy", self._cluster)
        self._call("destroy", self._handle)


def produce(servers: str, topic: str, values: Iterable[object], number: int = 0, **message) -> None:
    """Append to a partition: bytes and None as they stand, all else as JSON; one batch a message."""
    made = ck.Producer({"bootstrap.servers": servers, "log_level": 0, "linger.ms": 0})
    for value in values:
        raw = value if value is None or isinstance(value, bytes) else orjson.dumps(value)
        made.produce(topic, raw, partition=number, **message)
        assert made.flush(30) == 0
