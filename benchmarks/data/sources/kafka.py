"""How fast do messages of Kafka become records in Arrow, beside a loop that only takes them off the same client?

JSON of 1 to 5 kB in 16 partitions of a mock broker in a process of its own. Ours: look at the logs, plan spans, read
them with their text, time and id into record batches. The loop: `consume` of confluent-kafka with the same settings,
looking at nothing but errors; it is the ceiling. In turns; wall time and CPU time of the reading process.
"""

import contextlib
import subprocess
import sys
import time
from collections.abc import Iterator
from random import Random

import confluent_kafka as ck
import orjson

from benchmarks.data.sources.reading import count_good
from benchmarks.rows import Goal, Row, paired
from data_ops.sources.kafka.config import KafkaConfig
from data_ops.sources.kafka.source import KafkaSource
from tests.support.kafka.mock import MockKafka

PARTITIONS, WINDOW = 16, 10_000
WORDS = ["alpha", "beta", "gamma", "delta", "epsilon"]
BROKER = "import benchmarks.data.sources.kafka as b; b.serve()"


def measure(quick: bool) -> list[Row]:
    """Messages and megabytes a second, and the latency of a message through a look and a read."""
    num_messages, repeats = (2_000, 2) if quick else (20_000, 5)
    with broker() as servers:
        num_bytes = fill(servers, num_messages)
        ours, bare, our_cpu, bare_cpu = [], [], [], []
        for repeat in range(repeats + 1):
            for read, wall, cpu in ((by_us, ours, our_cpu), (by_a_loop, bare, bare_cpu)):
                began, began_cpu = time.perf_counter(), time.process_time()
                count = read(servers, num_messages)
                if count != num_messages:
                    raise ValueError(f"{read.__name__} read {count} of {num_messages} messages")
                if repeat:
                    wall.append(num_messages / (time.perf_counter() - began))
                    cpu.append(num_messages / (time.process_time() - began_cpu))
        latencies = latency(servers, 5 if quick else 50)
    return rows(num_messages, num_bytes, (ours, bare), (our_cpu, bare_cpu), latencies)


def rows(
    num_messages: int,
    num_bytes: int,
    wall: tuple[list[float], list[float]],
    cpu: tuple[list[float], list[float]],
    latencies: list[float],
) -> list[Row]:
    """The lines of the table."""
    per_message, loop = num_bytes / num_messages / 1e6, "a loop over consume()"
    what = f"Kafka into Arrow, {num_messages:,} messages of {num_bytes / num_messages / 1e3:.1f} kB, 16 partitions"
    megabytes = [[per_message * value for value in values] for values in wall]
    on_a_core = [[per_message * value for value in values] for values in cpu]
    fast, wide = Goal(25_000, of_ratio=False), Goal(80, of_ratio=False)
    why = "The broker, a process on the same two cores, and other work share them with the reader."
    return [
        Row(what, "messages/s", wall[0], loop, wall[1], paired(*wall), fast, why),
        Row(what, "MB/s", megabytes[0], loop, megabytes[1], paired(*megabytes), wide, why),
        Row(what, "messages per CPU second", cpu[0], loop, cpu[1], paired(*cpu), fast, why),
        Row(what, "MB per CPU second", on_a_core[0], loop, on_a_core[1], paired(*on_a_core), wide, why),
        Row("from produced to read, one message", "ms", latencies),
    ]


@contextlib.contextmanager
def broker() -> Iterator[str]:
    """A mock broker in a process of its own; gives where it listens."""
    process = subprocess.Popen([sys.executable, "-c", BROKER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        yield process.stdout.readline().strip() if process.stdout else ""
    finally:
        process.communicate("")


def serve() -> None:
    """Be that process, until stdin ends."""
    cluster = MockKafka()
    cluster.create("docs", PARTITIONS)
    cluster.create("one", 1)
    print(cluster.servers, flush=True)
    sys.stdin.read()
    cluster.close()


def fill(servers: str, num_messages: int) -> int:
    """Produce the messages; how many bytes their values have."""
    random, num_bytes = Random(0), 0
    producer = ck.Producer({"bootstrap.servers": servers, "linger.ms": 20, "log_level": 0})
    for number in range(num_messages):
        text = " ".join(random.choices(WORDS, k=random.randint(150, 750)))
        value = orjson.dumps({"id": number, "text": text, "time": "2026-11-29T00:00:00Z"})
        num_bytes += len(value)
        producer.produce("docs", value, partition=number % PARTITIONS)
        producer.poll(0)
        if number % 1000 == 0:
            producer.flush(30)
    producer.flush(60)
    return num_bytes


def by_us(servers: str, num_messages: int) -> int:
    """Read everything with the source; how many records without an error."""
    return count_good(KafkaSource("live", KafkaConfig(servers=servers, topics="docs", id="id", time="time")), WINDOW)


def by_a_loop(servers: str, num_messages: int) -> int:
    """Take everything off a consumer of all partitions; how many messages without an error."""
    consumer = ck.Consumer(
        {
            "bootstrap.servers": servers,
            "group.id": "loop",
            "enable.auto.commit": False,
            "auto.offset.reset": "error",
            "isolation.level": "read_committed",
            "check.crcs": True,
            "fetch.wait.max.ms": 5,
            "log_level": 0,
        }
    )
    consumer.assign([ck.TopicPartition("docs", number, 0) for number in range(PARTITIONS)])
    count = 0
    while count < num_messages:
        count += sum(message.error() is None for message in consumer.consume(2000, 0.1))
    consumer.close()
    return count


def latency(servers: str, repeats: int) -> list[float]:
    """Milliseconds from a message that was acknowledged to its record, through a look and a read."""
    source = KafkaSource("live", KafkaConfig(servers=servers, topics="one", format="text"))
    producer = ck.Producer({"bootstrap.servers": servers, "log_level": 0})
    cursor, found = {}, []
    for _ in range(repeats):
        producer.produce("one", b"a text")
        producer.flush(10)
        began = time.perf_counter()
        seen = source.discover(cursor, 10)
        cursor = seen.cursor
        if sum(batch.num_rows for span in seen.spans for batch in source.read(span)) != 1:
            raise ValueError(f"{seen.spans} is not the one message that was produced")
        found.append(1e3 * (time.perf_counter() - began))
    return found[1:]
