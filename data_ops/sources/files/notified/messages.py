"""Which objects does a message of a queue name, if it is a notification of S3 at all?

Three ways lead from a bucket to a queue, and each writes otherwise: S3 itself (`Records`, keys URL-encoded, a space as
`+`), EventBridge (`detail`, keys as they are), and either of them through a topic of SNS (`Message`, a JSON text). What
is understood and tells of no new object (a test, a deletion, a tag) names none. All else is a problem, in words. Pure.
"""

import re
from collections.abc import Iterator, Mapping
from typing import NamedTuple
from urllib.parse import unquote_plus

import orjson

MOST_WRAPPED = 3
BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{1,254}")
MAX_KEY_BYTES = 1024
SHOWN_CHARS = 60
#: Names of events, of S3 and of EventBridge, after which an object can be read that could not be before.
NEW = re.compile(r"(?:s3:)?ObjectCreated:|(?:s3:)?ObjectRestore:Completed|Object Created$|Object Restore Completed$")
#: Those that are known and tell of no text.
OTHERS = re.compile(
    r"(?:s3:)?(?:ObjectRemoved:|ObjectRestore:|ObjectTagging:|ObjectAcl:|ObjectAnnotation|ReducedRedundancy|Replication|"
    r"Lifecycle|IntelligentTiering)|Object (?:Deleted|Restore|Storage|Access|ACL|Tags)"
)


class NamedObject(NamedTuple):
    """An object that is new, as its notification says; size_bytes is 0 where it says none."""

    bucket: str
    key: str
    size_bytes: int


class Notification(NamedTuple):
    """What a message says: the objects that it names, and what is wrong with it ("": nothing)."""

    objects: tuple[NamedObject, ...] = ()
    problem: str = ""


class _StrangeError(ValueError):
    """A message that is no notification of S3."""


def read_notification(body: str) -> Notification:
    """Read the body of a message; never raises.

    >>> key = '{"bucket": {"name": "acme"}, "object": {"key": "news/a+b.jsonl", "size": 9}}'
    >>> read_notification('{"Records": [{"eventSource": "aws:s3", "eventName": "ObjectCreated:Put", "s3": %s}]}' % key)
    Notification(objects=(NamedObject(bucket='acme', key='news/a b.jsonl', size_bytes=9),), problem='')
    """
    objects: list[NamedObject] = []
    try:
        for named in _events(_unwrapped(body)):
            objects += [named] if named else []
    except _StrangeError as error:
        return Notification(tuple(objects), str(error))
    return Notification(tuple(objects))


def _unwrapped(body: str) -> Mapping[str, object]:
    """Take the message out of what SNS puts around it."""
    text = body
    for _ in range(MOST_WRAPPED):
        try:
            value = orjson.loads(text)
        except orjson.JSONDecodeError:
            raise _StrangeError(f"it is not JSON: {text[:SHOWN_CHARS]!r}") from None
        if not isinstance(value, dict):
            raise _StrangeError(f"it is no object of JSON: {text[:SHOWN_CHARS]!r}")
        if value.get("Type") == "Notification" and isinstance(value.get("Message"), str):
            text = value["Message"]
        else:
            return value
    raise _StrangeError(f"it is wrapped more than {MOST_WRAPPED} times")


def _events(value: Mapping[str, object]) -> Iterator[NamedObject | None]:
    if value.get("Event") == "s3:TestEvent":
        return
    if value.get("source") == "aws.s3" and "detail" in value:
        yield _named(value.get("detail-type"), value["detail"], encoded=False)
        return
    records = value.get("Records")
    if not isinstance(records, list):
        raise _StrangeError(f"of Records and an event of aws.s3 it has none, but {sorted(map(str, value))[:5]}")
    for record in records:
        if not isinstance(record, dict) or not str(record.get("eventSource", "")).endswith(":s3"):
            raise _StrangeError(f"one of its Records is not of S3: {str(record)[:SHOWN_CHARS]!r}")
        yield _named(record.get("eventName"), record.get("s3"), encoded=True)


def _named(event: object, about: object, *, encoded: bool) -> NamedObject | None:
    """Tell which object an event is about; None if that can be read no better than before."""
    if not isinstance(event, str) or not (NEW.match(event) or OTHERS.match(event)):
        raise _StrangeError(f"the event {str(event)[:SHOWN_CHARS]!r} is not known")
    if not NEW.match(event):
        return None
    bucket, key = _field(about, "bucket", "name"), _field(about, "object", "key")
    if not isinstance(bucket, str) or not BUCKET.fullmatch(bucket) or not isinstance(key, str) or not key:
        raise _StrangeError(f"it names no bucket, or no key: {str(about)[:SHOWN_CHARS]!r}")
    if encoded:
        try:
            key = unquote_plus(key, errors="strict")
        except UnicodeDecodeError:
            raise _StrangeError(f"its key is no UTF-8: {key[:SHOWN_CHARS]!r}") from None
    if len(key.encode()) > MAX_KEY_BYTES:
        raise _StrangeError(f"its key is longer than {MAX_KEY_BYTES} bytes")
    size = _field(about, "object", "size")
    return NamedObject(bucket, key, size if isinstance(size, int) and size > 0 else 0)


def _field(value: object, *path: str) -> object:
    for name in path:
        value = value.get(name) if isinstance(value, dict) else None
    return value
