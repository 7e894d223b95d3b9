"""What do topics hold, so that nobody has to write it down: JSON, text, or values of a registry, and in which fields?

The first messages are fetched once; each likely field is then tried by the reader itself, so what is proposed was read.
"""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import parse_qs, urlsplit

from cluster.readable import many, size
from data_ops.sources.fields import RecordRows
from data_ops.sources.kafka.config import KafkaConfig
from data_ops.sources.kafka.registered.registry import registry_of
from data_ops.sources.kafka.registered.wire import PREFIX, UnreadableError, unframed
from data_ops.sources.kafka.source import KafkaSource
from data_ops.sources.kafka.values import parser_of

if TYPE_CHECKING:
    from data_ops.sources.kafka.client import Message

SCHEME = "kafka://"
ENOUGH = 0.8  # share of the messages in which a time or an id has to make sense
FORM = f"{SCHEME}HOST:9092/TOPIC, or {SCHEME}HOST:9092/TOPIC?registry=https://HOST:8081"


class TopicsGuess(NamedTuple):
    """Topics that can be read: their configuration, what is in them in words, and about how many bytes."""

    config: KafkaConfig
    told: str
    num_bytes: int


def guess_topics(url: str, texts: Sequence[str], times: Sequence[str], ids: Sequence[str]) -> TopicsGuess:
    """Look at kafka://SERVERS/TOPICS?registry=URL. The others: what fields are called, likely names first.

    OSError, in a sentence, where there is nothing to read or no field holds texts.
    """
    servers, topics, registry = _parts(url)
    source = KafkaSource("mine", KafkaConfig(servers=servers, topics=topics))
    if sentence := source.missing():
        raise OSError(sentence.replace(f"sources.mine.{source.config.describe()}: ", ""))
    first = source.first_messages()
    values = [message.value for _, message in first if message.value is not None]
    if not values:
        raise OSError(f"{url} has no message with a value yet; publish one, or write a configuration by hand")
    given = {"servers": servers, "topics": topics, **_format(values, registry, url)}
    source = KafkaSource("mine", KafkaConfig.model_validate(given))
    if sentence := source.missing():
        raise OSError(sentence.replace(f"sources.mine.{source.config.describe()}: ", ""))
    fields = source.fields_there()
    if source.config.format == "json" and not fields:
        config = KafkaConfig(servers=servers, topics=topics, format="text")
    else:
        config = _mapped(source, fields, (texts, times, ids))
    found = source.discover({}, 1)
    count = sum(span.num_records for span in found.spans) + (found.num_behind or 0)
    num_bytes = count * sum(map(len, values)) // len(values)
    told = f"{many(count, 'message')} of {config.format}, {size(num_bytes)}; text={config.text}, time={config.time}"
    return TopicsGuess(config, told, num_bytes)


def _parts(url: str) -> tuple[str, str, str | None]:
    try:
        parts = urlsplit(url)
        asked = parse_qs(parts.query, strict_parsing=bool(parts.query))
    except ValueError:
        raise OSError(f"{url} is not understood; write {FORM}") from None
    topics = parts.path.strip("/")
    if "@" in parts.netloc:
        raise OSError("a login has no place in a URL; write a configuration by hand (docs/kafka.md#logins)")
    if not parts.netloc or not topics or asked.keys() - {"registry"}:
        raise OSError(f"{url} names no topic; write {FORM}")
    return parts.netloc, topics, asked["registry"][0] if "registry" in asked else None


def _format(values: list[bytes], registry: str | None, url: str) -> dict[str, str]:
    """Tell the format of values, by the schema of the first that has one."""
    framed = [value for value in values if value[:1] == b"\0" and len(value) > PREFIX.size]
    if registry is None:
        if len(framed) > len(values) / 2:
            raise OSError(
                f"the values of {url} begin as those of a schema registry; name it: {url}?registry=https://HOST:8081"
            )
        return {"format": "json"}
    config = KafkaConfig.model_validate({"servers": "a:1", "topics": "a", "format": "avro", "registry": registry})
    assert config.registry is not None  # it was just given
    registry_of(config.registry).check()
    for value in framed:
        try:
            number = unframed(value, has_indexes=False).schema_id
            kind = registry_of(config.registry).schema(number, compiled=False).kind
            return {"format": kind.lower(), "registry": registry}
        except UnreadableError:
            continue
    raise OSError(f"no value of {url} begins with the id of a schema that {registry} knows; leave ?registry= out")


def _mapped(source: KafkaSource, fields: Sequence[str], wanted: tuple[Sequence[str], ...]) -> KafkaConfig:
    """Choose the fields that make sense in most of the first messages."""
    texts, times, ids = ([path for name in names for path in _called(fields, name)] for names in wanted)
    config = source.config
    first = source.first_messages()
    shares = {text: _share(first, config.model_copy(update={"text": text}), "text") for text in texts}
    text = max(texts, key=lambda each: shares[each], default=None)
    if text is None or not shares[text]:
        there = ", ".join(fields[:12])
        raise OSError(f"no field of the first messages is called {', '.join(wanted[0])}; there are {there}")
    config = config.model_copy(update={"text": text})
    for key, paths, column in (("time", times, "event_time"), ("id", ids, "external_id")):
        for path in paths:
            tried = config.model_copy(update={key: path})
            if path != text and _share(first, tried, column) >= ENOUGH:
                config = tried
                break
    return config


def _called(fields: Sequence[str], name: str) -> Iterator[str]:
    """The paths whose last step is a name, the shortest first."""
    yield from sorted(
        (path for path in fields if path.split(".")[-1] == name and not path.startswith("kafka.")), key=len
    )


def _share(first: Sequence[tuple[str, "Message"]], config: KafkaConfig, column: str) -> float:
    """In which share of the first messages does a configuration give a text with this column?"""
    rows = RecordRows(0)
    for partition, message in first:
        parser_of(config, partition)(message, rows)
    table = rows.take().to_pylist()
    return sum(row["error"] is None and bool(row[column]) for row in table) / max(len(table), 1)
