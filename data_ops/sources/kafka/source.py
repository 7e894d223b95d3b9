"""Which messages of which topics are new, and what do they say?

A partition of a topic is a partition here, named topic/number; its cursor is an offset of ours, which lies in the
lake's window commits and nowhere else. What a group is told is a hint for whoever watches its lag. A look asks the
cluster where the logs begin and end and reads nothing; each window takes an equal share of every partition.
"""

import difflib
import time
from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from itertools import islice
from typing import TYPE_CHECKING, ClassVar

import msgspec
import pyarrow as pa

from cluster.storage.retry import retry
from data_ops.sources.fields import RecordRows
from data_ops.sources.json_records import LONG_BYTES, LOOKED_AT, fields_of
from data_ops.sources.kafka.config import HEADER, PLACES, KafkaConfig
from data_ops.sources.kafka.logs import Log, Lost, Reached, spans_of, start_of
from data_ops.sources.kafka.registered.records import as_json
from data_ops.sources.kafka.registered.registry import registry_of
from data_ops.sources.kafka.values import parser_of
from data_ops.sources.protocol import ChangedError, Cursor, Discovery, LossError, Source, SourceConfig, Span

if TYPE_CHECKING:
    from data_ops.sources.kafka.client import Client, Message, Topics

SAMPLED = 50  # messages of a partition from which the size of the others is told
SAMPLE_AGAIN = 20_000  # offsets further on
NEEDS = {"avro": ("fastavro",), "protobuf": ("google.protobuf", "grpc_tools")}  # packages of the extra, by format
WHY = {
    "trimmed": "offsets {start} to {last} of {name} were removed from the log before they were read",
    "created_again": "the topic of {name} was deleted and created again after offset {start} was reached",
    "cut_off": "the log of {name} ends at {start}, before the offset that was reached",
}


class KafkaSource(Source):
    """Topics of a cluster; holds no connection itself, those of a process are in client.py."""

    CONFIG: ClassVar[type[SourceConfig]] = KafkaConfig

    def __init__(self, label: str, config: KafkaConfig) -> None:
        self.label = label
        self.config = config
        self._sizes: dict[str, tuple[int, float]] = {}  # partition -> where it was sampled, mean bytes of a value

    def _client(self) -> "Client":
        from data_ops.sources.kafka.client import client_of  # an extra: only where Kafka is read

        return client_of(self.config)

    def discover(self, cursor: Cursor, max_records: int) -> Discovery:
        """List what is new, an equal share of every partition. LossError where something is lost, unless accepted."""
        topics, logs = retry(self._look)
        warnings = [f"{self._named}: {what}" for what in self._absent(topics, logs)]
        starts = {
            n: start_of(msgspec.convert(cursor[n], Reached) if n in cursor else None, log)
            for n, log in sorted(logs.items())
        }
        losses = [self._loss(name, start.loss) for name, start in starts.items() if start.loss]
        if losses and self.config.on_loss == "stop":
            more = f" (and {len(losses) - 1} more partitions)" if len(losses) > 1 else ""
            raise LossError(
                f"{losses[0]}{more}; set sources.{self.label}.on_loss=continue to go on with what is there and have "
                "the loss written down"
            )
        spans, after = spans_of(starts, max_records, time.time())
        behind = sum(entry.end - entry.next_offset for entry in after.values())
        moved: Cursor = {name: [*entry] for name, entry in after.items()}
        return Discovery(spans, {**cursor, **moved}, warnings + losses, drained=behind == 0, num_behind=behind)

    def _look(self) -> "tuple[Topics, dict[str, Log]]":
        client = self._client()
        topics = client.topics(self.config.topics)
        return topics, client.logs(topics)

    @property
    def _named(self) -> str:
        return f"sources.{self.label}.{self.config.describe()}"

    def _absent(self, topics: "Topics", logs: dict[str, Log]) -> Iterator[str]:
        for name in self.config.topics:
            if name not in topics.logs:
                yield f"there is no topic {name} now; it is looked for again"
                continue
            without = [number for number in topics.logs[name][1] if f"{name}/{number}" not in logs]
            if without:
                yield f"no broker leads {name}/{without[0]} now; it is asked for again"

    def _loss(self, name: str, lost: Lost) -> str:
        return f"sources.{self.label}: {WHY[lost.reason].format(name=name, start=lost.start, last=lost.end - 1)}"

    def names(self, partition: str) -> bool:
        """Say whether a partition is of one of our topics."""
        topic, _, number = partition.rpartition("/")
        return topic in self.config.topics and number.isdecimal()

    def read(self, span: Span) -> Iterator[pa.RecordBatch]:
        """Read exactly the span's places, one row an offset.

        Raises LossError, or ChangedError where a loss is accepted, if the log does not hold them any more.
        """
        if span.loss:
            return
        client, rows = self._client(), RecordRows(span.first_record)
        topic, _, number = span.partition.rpartition("/")
        parse, offset, modified_us = parser_of(self.config, span.partition), span.start, round(span.modified_s * 1e6)
        try:
            self._refuse_another(client, topic, span)
            for message in client.fetch(topic, int(number), span.start, span.end):
                for absent in range(offset, message.offset):
                    rows.add_absent("no_record", modified_us, f"{span.partition}/{absent}")
                    if rows.full:
                        yield rows.take()
                parse(message, rows)
                offset = message.offset + 1
                if rows.full:
                    yield rows.take()
        except ChangedError as error:
            raise self._lost(error) from error
        for absent in range(offset, span.end):
            rows.add_absent("no_record", modified_us, f"{span.partition}/{absent}")
            if rows.full:
                yield rows.take()
        if rows.texts:
            yield rows.take()

    def _refuse_another(self, client: "Client", topic: str, span: Span) -> None:
        """Raise ChangedError where the topic was created again since a span was planned."""
        now = client.topic_id(topic) if span.mark else ""
        if now not in ("", span.mark):
            raise ChangedError(f"topic {topic} was deleted and created again after {span.partition} was planned")

    def _lost(self, error: ChangedError) -> Exception:
        if self.config.on_loss == "continue":
            return error
        return LossError(
            f"sources.{self.label}: {error}; set sources.{self.label}.on_loss=continue to have its places quarantined"
        )

    def size_of(self, span: Span) -> int:
        """Tell about how many bytes a span holds: as many for each message as the first ones near it have."""
        at, mean = self._sizes.get(span.partition, (-SAMPLE_AGAIN, 0.0))
        if span.num_records and not 0 <= span.start - at < SAMPLE_AGAIN:
            topic, _, number = span.partition.rpartition("/")
            end = min(span.end, span.start + SAMPLED)
            try:
                sizes = [len(m.value or b"") for m in self._client().fetch(topic, int(number), span.start, end)]
            except ChangedError:  # reading the span will say so
                sizes = []
            mean = sum(sizes) / (end - span.start)
            self._sizes[span.partition] = span.start, mean
        return round(mean * span.num_records)

    def missing(self) -> str | None:
        """Say that the client is not installed, that no broker answers, or that a topic is not there."""
        if find_spec("confluent_kafka") is None:
            return f"{self._named} needs confluent-kafka, which is not installed; pip install 'headrace[kafka]'"
        registry = self.config.registry
        if registry is not None and (absent := [name for name in NEEDS[self.config.format] if not _is_there(name)]):
            return f"{self._named} needs {absent[0]}, which is not installed; pip install 'headrace[registry]'"
        try:
            if registry is not None:
                registry_of(registry).check()
            topics = self._client().topics(self.config.topics)
        except OSError as error:
            return f"{self._named}: {error}"
        absent = [name for name in self.config.topics if name not in topics.logs]
        if not absent or self.config.wait:
            return None
        near = difflib.get_close_matches(absent[0], topics.names, n=1)
        hint = f"did you mean {near[0]}?" if near else "create it, or correct its name,"
        return (
            f"{self._named}: the cluster has no topic {absent[0]}; {hint} or set sources.{self.label}.wait=true to "
            "start before it is there"
        )

    def fields_there(self) -> Sequence[str]:
        """Name the fields of the first messages, and what else a time or an id may be taken from."""
        first = [message for _, message in self.first_messages()]
        headers = dict.fromkeys(HEADER + header for message in first for header, _ in message.headers)
        values = [message.value or b"" for message in first]
        if self.config.registry is not None:
            short = [value for value in values if len(value) <= LONG_BYTES]
            fields = fields_of(as_json(self.config.format, self.config.registry, short))
        else:
            fields = fields_of(value.replace(b"\n", b" ") for value in values) if self.config.format == "json" else []
        return (*fields, *PLACES, *headers) if fields else ()

    def first_messages(self) -> "list[tuple[str, Message]]":
        """Fetch some messages where the logs begin, each with its partition."""
        client = self._client()
        logs = client.logs(client.topics(self.config.topics))
        first: list[tuple[str, Message]] = []
        for name, log in islice(((n, log) for n, log in sorted(logs.items()) if log.end > log.begin), LOOKED_AT):
            topic, _, number = name.rpartition("/")
            end = min(log.end, log.begin + SAMPLED)
            first += [(name, message) for message in client.fetch(topic, int(number), log.begin, end)]
            if len(first) >= LOOKED_AT:
                break
        return first

    def acknowledge(self, cursor: Cursor) -> None:
        """Tell the group, if one is named, how far we are. OSError where it does not take that."""
        offsets = {name: msgspec.convert(state, Reached).next_offset for name, state in cursor.items()}
        if self.config.group and offsets:
            self._client().commit(self.config.group, offsets)


def _is_there(package: str) -> bool:
    try:
        return find_spec(package) is not None
    except ModuleNotFoundError:  # of google.protobuf, where there is no google
        return False
