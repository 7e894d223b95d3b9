"""How is a Kafka cluster asked, and how are its messages fetched?

One client a process and configuration, kept between reads: making one anew costs some 30 ms for each window. Questions
about the log (which partitions, where it begins and ends) go over a connection of their own, for on a connection that
fetches they wait behind its long poll. Messages come by offsets that we name; a group is told ours and never asked.
"""

import os
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple, TypeVar

import confluent_kafka as ck
from confluent_kafka.admin import AdminClient, OffsetSpec

from cluster.storage.retry import KAFKA_SILENT, PATIENCE_S
from data_ops.sources.kafka.config import KafkaConfig
from data_ops.sources.kafka.errors import DAMAGED, GONE, PASSING, REFUSED, TRIMMED
from data_ops.sources.kafka.logs import Log
from data_ops.sources.protocol import ChangedError

ANSWER_S = 10.0  # within which a broker that lives answers a question
IDS_S, ASK_AGAIN_S = 2.0, 300.0  # within which a broker tells ids, and how long after its silence it is not asked
LOOK_S = 3.0  # between two looks at what the connections have met
SHORT_S = 30.0  # how long a log may seem to end too early, as it does while another broker takes over
AT_ONCE = 2000  # messages handed over by the library in one call
#: The longest a broker holds back an answer in the hope of more. All that is fetched is known to be there, so this only
#: delays: the next span of a reader waits for the answer to what was asked behind the last one. A broker whose logs lie
#: in a bucket may need longer to look, and answers with nothing until it is given the time: the next of these.
WAITS_MS = (5, 100, 1000)
STALLED_S = 1.0  # without a message, after which a broker is given the time
Made = TypeVar("Made")


class Message(NamedTuple):
    """What a log holds at one offset; timestamp_ms is None where the message has none."""

    offset: int
    value: bytes | None
    key: bytes | None
    headers: Sequence[tuple[str, bytes | None]]
    timestamp_ms: int | None


class Topics(NamedTuple):
    """What a cluster knows of the topics that were asked for, and the names of all."""

    logs: dict[str, tuple[str, list[int]]]  # topic -> its id ("" where it is not told), its partitions
    names: list[str]


class _StalledError(Exception):
    """A broker gives nothing in the time that it has to look."""


class Client:
    """The connections of this process to one cluster."""

    def __init__(self, config: KafkaConfig) -> None:
        """OSError, in a sentence, where a secret is missing or a setting is not understood."""
        self.config = config
        self._told: deque[ck.KafkaError] = deque(maxlen=32)
        self._idle: list[ck.Consumer] = []
        self._waits = [*WAITS_MS]
        common = {**config.options, **config.security.client_settings(), "bootstrap.servers": ",".join(config.servers)}
        self._common: dict[str, object] = {**common, "log_level": "0", "error_cb": self._told.append}
        self._fetching: dict[str, object] = {
            **self._common,
            "group.id": config.group or "headrace",  # the library asks for one; nothing is committed by it
            "enable.auto.commit": False,
            "enable.auto.offset.store": False,
            "auto.offset.reset": "error",
            "isolation.level": "read_committed",
            "enable.partition.eof": True,
            "check.crcs": True,
        }
        self._admin: AdminClient = self._made(lambda: AdminClient(self._common))
        self._ask_ids_at = 0.0  # by our clock

    def topics(self, names: Sequence[str]) -> Topics:
        """Ask which of these topics there are. OSError, in a sentence, where no broker answers or one refuses."""
        deadline = time.monotonic() + ANSWER_S
        while True:
            try:
                found = self._admin.list_topics(timeout=LOOK_S)
                break
            except ck.KafkaException as error:
                self._admin.poll(0)  # what its connections met is told by a callback
                self._refuse(error)
                if time.monotonic() > deadline:
                    raise self._silence(error) from error
        self._told.clear()
        mine = {name: found.topics[name] for name in names if name in found.topics}
        for topic in mine.values():
            if topic.error is not None:
                self._refuse(ck.KafkaException(topic.error))
        ids = self._ids(list(mine))
        logs = {name: (ids.get(name, ""), sorted(topic.partitions)) for name, topic in mine.items()}
        return Topics({name: log for name, log in logs.items() if log[1]}, sorted(found.topics))

    def topic_id(self, topic: str) -> str:
        """Ask for the id of a topic as it is now; "" where it is not told."""
        return self._ids([topic]).get(topic, "")

    def _ids(self, names: list[str]) -> dict[str, str]:
        """Ask for the ids of topics, by which one that was created again is known; not every broker tells them.

        The library has no word for a broker that does not, only its silence; so that is not waited for at every look.
        """
        if not names or time.monotonic() < self._ask_ids_at:
            return {}
        asked = self._admin.describe_topics(ck.TopicCollection(names), request_timeout=IDS_S)
        found = {}
        for name, answer in asked.items():
            try:
                found[name] = str(answer.result(2 * ANSWER_S).topic_id)
            except ck.KafkaException as error:
                if error.args[0].code() == ck.KafkaError._TIMED_OUT:
                    self._ask_ids_at = time.monotonic() + ASK_AGAIN_S
        return found

    def logs(self, topics: Topics) -> dict[str, Log]:
        """Ask where the partitions begin and end, by name; those without a leader now are left out."""
        wanted = {(name, number): id_ for name, (id_, numbers) in topics.logs.items() for number in numbers}
        begins, ends = (self._offsets(list(wanted), spec) for spec in (OffsetSpec.earliest(), OffsetSpec.latest()))
        return {
            f"{name}/{number}": Log(wanted[name, number], begins[name, number], ends[name, number])
            for name, number in wanted
            if (name, number) in begins and (name, number) in ends
        }

    def _offsets(self, partitions: list[tuple[str, int]], spec: OffsetSpec) -> dict[tuple[str, int], int]:
        if not partitions:
            return {}
        asked = self._admin.list_offsets(
            {ck.TopicPartition(*partition): spec for partition in partitions},
            isolation_level=ck.IsolationLevel.READ_COMMITTED,
            request_timeout=ANSWER_S,
        )
        offsets, failed = {}, None
        for partition, answer in asked.items():
            try:
                offsets[partition.topic, partition.partition] = answer.result(2 * ANSWER_S).offset
            except ck.KafkaException as error:
                self._refuse(error)
                failed = error
        if failed is not None and not offsets:
            raise self._silence(failed) from failed
        return offsets

    def fetch(self, topic: str, number: int, start: int, end: int) -> Iterator[Message]:
        """Yield what a partition holds in offsets [start, end); what is not there is left out.

        ChangedError where the log does not hold them any more; OSError where no broker gives any for PATIENCE_S.
        """
        while start < end:
            consumer = self._idle.pop() if self._idle else self._made(self._consumer)
            try:
                consumer.assign([ck.TopicPartition(topic, number, start)])
                for message in self._fetched(consumer, f"{topic}/{number}", start, end):
                    start = message.offset + 1
                    yield message
                consumer.unassign()
                start = end
            except _StalledError:
                self._give_time()
                consumer.close()
                continue
            except BaseException:
                consumer.close()
                raise
            self._idle.append(consumer)

    def _consumer(self) -> ck.Consumer:
        return ck.Consumer({"fetch.wait.max.ms": self._waits[0], **self._fetching})

    def _give_time(self) -> None:
        """Let brokers have longer to look for what is fetched."""
        while self._idle:
            self._idle.pop().close()
        self._waits.pop(0)

    def _fetched(self, consumer: ck.Consumer, name: str, next_offset: int, end: int) -> Iterator[Message]:
        heard, is_short = time.monotonic(), False
        while next_offset < end:
            for found in consumer.consume(min(end - next_offset, AT_ONCE), timeout=0.1):
                offset, error = found.offset(), found.error()
                if error is None and offset < end:
                    heard, next_offset, is_short = time.monotonic(), offset + 1, False
                    yield _message(found, offset)
                elif error is None or error.code() == ck.KafkaError._PARTITION_EOF:
                    next_offset = max(next_offset, offset)  # nothing is there in between
                    is_short = next_offset < end
                else:
                    self._stop(error, f"{name} at offset {next_offset}")
            waited = time.monotonic() - heard
            if not is_short and waited > STALLED_S and len(self._waits) > 1:
                raise _StalledError
            if is_short and waited > SHORT_S:
                raise ChangedError(f"the log of {name} ends at {next_offset}, before {end} where it was seen to end")
            if waited > PATIENCE_S:
                raise self._silence(ck.KafkaException(ck.KafkaError(ck.KafkaError._TIMED_OUT)))

    def _stop(self, error: ck.KafkaError, where: str) -> None:
        """Raise what a reader is to hear of an error, unless it will pass: no message may be passed over for it."""
        code = error.code()
        if code in TRIMMED or code in GONE:
            raise ChangedError(f"{where} is not in the log any more ({error.str()})")
        if code in DAMAGED:
            raise ValueError(f"{where} cannot be read ({error.str()})")
        self._refuse(ck.KafkaException(error))
        if code not in PASSING:
            raise OSError(f"Kafka at {self._where}: {where} cannot be read now ({error.str()})")

    def commit(self, group: str, offsets: dict[str, int]) -> None:
        """Tell a group where each partition goes on. OSError where that is not taken."""
        told = [ck.TopicPartition(*split_name(name), offset) for name, offset in offsets.items()]
        request = [ck.ConsumerGroupTopicPartitions(group, told)]
        try:
            for answer in self._admin.alter_consumer_group_offsets(request, request_timeout=ANSWER_S).values():
                answer.result(2 * ANSWER_S)
        except ck.KafkaException as error:
            raise OSError(f"group {group} takes no offsets: {_said(error)}") from error

    def _made(self, make: Callable[[], Made]) -> Made:
        try:
            return make()
        except ck.KafkaException as error:
            self._refuse(error)
            raise

    def _refuse(self, error: ck.KafkaException) -> None:
        """Raise OSError if this error, or what a connection has met, will not pass by itself."""
        for found in (error.args[0], *self._told):
            if found.code() in REFUSED:
                raise OSError(f"Kafka at {self._where}: {REFUSED[found.code()]} ({found.str()})") from error

    def _silence(self, error: ck.KafkaException) -> OSError:
        met = next((each.str() for each in self._told if each.code() != ck.KafkaError._ALL_BROKERS_DOWN), _said(error))
        where = f"{self._where} within {ANSWER_S:.0f} s"
        return OSError(f"{KAFKA_SILENT} at {where} ({met}); check servers, security.protocol and the network")

    @property
    def _where(self) -> str:
        return ",".join(self.config.servers)


_CLIENTS: dict[tuple[int, str], Client] = {}


def client_of(config: KafkaConfig) -> Client:
    """Return this process's client for the cluster of a configuration; a forked process makes its own."""
    key = (os.getpid(), config.model_dump_json(include={"servers", "group", "security", "options"}))
    if key not in _CLIENTS:
        _CLIENTS[key] = Client(config)
    return _CLIENTS[key]


def split_name(partition: str) -> tuple[str, int]:
    """Read the name of a partition.

    >>> split_name("docs/3")
    ('docs', 3)
    """
    topic, _, number = partition.rpartition("/")
    return topic, int(number)


def _message(found: ck.Message, offset: int) -> Message:
    kind, timestamp = found.timestamp()
    known = timestamp if kind != ck.TIMESTAMP_NOT_AVAILABLE else None
    return Message(offset, found.value(), found.key(), found.headers() or (), known)


def _said(error: ck.KafkaException) -> str:
    return str(error.args[0].str())
