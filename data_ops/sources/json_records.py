"""What is in one line or message: a JSON object, or a document as it stands?

JSON is read as its writers write it: NaN and Infinity, which Python's json writes, are read as null. Of a long line
only the fields that are asked for become objects, so that millions of empty ones in the others cost no memory.
"""

import functools
import itertools
import json
import math
import re
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import msgspec
import orjson

from data_ops.sources.fields import Fields, RecordRows, pick

BOM = b"\xef\xbb\xbf"
Parse = Callable[[bytes, int, RecordRows], None]  # a record's bytes, how many were read for it, where it goes
LONG_BYTES = 1 << 20  # a longer line is not built as a whole: 1 MB of empty objects takes some 50 MB
LOOKED_AT = 50  # records, to see which fields they have
SHORT_VALUE_BYTES = 1 << 20
EXACT = 2**53  # a float from here on may be an integer that lost its last digits
MOST_DIGITS = 4000  # Python refuses to read longer integers
SURROGATE = re.compile("[\ud800-\udfff]")
ENDLESS = re.compile(rb'"(?:[^"\\]++|\\.)*+"|-?\bInfinity\b|\bNaN\b', re.DOTALL)


def parse_document(line: bytes, num_bytes: int, rows: RecordRows) -> None:
    """Take a line as one document, text as it stands."""
    try:
        rows.add(line.decode(), None, None, num_bytes)
    except UnicodeDecodeError:
        rows.quarantine("bad_utf8", line, num_bytes)


def json_parser(fields: Fields) -> Parse:
    """Make the function that takes a line as one JSON object with these fields."""
    text_field, time_field, id_field = fields
    nested = any(field and "." in field for field in fields)

    def parse(line: bytes, num_bytes: int, rows: RecordRows) -> None:
        absent = "missing_text"
        try:
            record = orjson.loads(line) if len(line) <= LONG_BYTES else _asked_for(line, fields)
        except (ValueError, RecursionError) as error:
            if not line or line.isspace():
                rows.add("", None, None, num_bytes)
                return
            record, reason = second_look(line, fields, error)
            if reason:
                rows.quarantine(reason, line, num_bytes)
                return
            if isinstance(record, dict) and text_field.split(".")[0] in record:
                absent = "bad_json"  # the text itself is NaN
        if type(record) is not dict:
            rows.quarantine("not_an_object", line, num_bytes)
            return
        get = functools.partial(pick, record) if nested else record.get
        text = get(text_field)
        if type(text) is not str:
            rows.quarantine(absent if text is None else "wrong_type", line, num_bytes)
        elif time_field is None and id_field is None:
            rows.add(text, None, None, num_bytes)
        else:
            name = get(id_field) if id_field else None
            if type(name) is float and abs(name) >= EXACT:
                name = _exact(line, id_field, name)
            rows.add_untyped(text, get(time_field) if time_field else None, name, num_bytes)

    return parse


def fields_of(lines: Iterable[bytes]) -> list[str]:
    """Name the fields of the first records, nested ones as paths; none if no record is an object."""
    names: dict[str, None] = {}
    for line in itertools.islice(lines, LOOKED_AT):
        try:
            record = _loosely(line.removeprefix(BOM))
        except (ValueError, RecursionError):
            continue
        if isinstance(record, dict):
            names |= dict.fromkeys(_paths(record, ""))
    return [name.encode("utf-8", "backslashreplace").decode() for name in names]


def _paths(record: dict[str, Any], above: str) -> Iterator[str]:
    for name, value in record.items():
        if isinstance(value, dict) and value and above.count(".") < 2:
            yield from _paths(value, f"{above}{name}.")
        else:
            yield f"{above}{name}"


def second_look(line: bytes, fields: Fields, error: Exception) -> tuple[Any, str | None]:
    """Read a line that is not strict JSON: its value, or the reason why it cannot be read.

    Only the fields that are asked for condemn it: NaN, numbers beyond all bounds, halves of characters and bytes that
    are no UTF-8 may stand in the others.
    """
    try:
        if len(line) <= LONG_BYTES:
            record = _loosely(line)
        else:
            record = _asked_for(ENDLESS.sub(_finite, line), fields)
    except (ValueError, RecursionError):
        return None, _why_not_json(line, error)
    text = pick(record, fields.text) if isinstance(record, dict) else None
    if isinstance(text, str) and SURROGATE.search(text):
        return None, "bad_utf8"
    return record, None


def _loosely(line: bytes) -> Any:
    return json.loads(line.decode("utf-8", "surrogateescape"), parse_constant=_nothing, parse_int=_integer)


def _nothing(_constant: str) -> None:
    """What NaN and Infinity are read as."""


def _integer(digits: str) -> float:
    return int(digits) if len(digits) <= MOST_DIGITS else math.inf


def _finite(match: re.Match[bytes]) -> bytes:
    return match[0] if match[0].startswith(b'"') else b"null"


def _asked_for(line: bytes, fields: Fields) -> Any:
    """Read only the fields that are asked for; what else a long line holds is checked and passed over."""
    names = tuple(dict.fromkeys(name for field in fields if field for name in (field, field.split(".")[0])))
    try:
        raw = _decoder(names).decode(line)
    except msgspec.ValidationError:
        return []  # valid JSON, but no object
    values = {name: getattr(raw, f"f{number}") for number, name in enumerate(names)}
    return {
        name: orjson.loads(value) if value[:1] == b'"' or len(value) <= SHORT_VALUE_BYTES else []
        for name, value in ((name, bytes(value)) for name, value in values.items() if value is not msgspec.UNSET)
    }


@functools.lru_cache(maxsize=16)
def _decoder(names: tuple[str, ...]) -> msgspec.json.Decoder[Any]:
    slots = [(f"f{number}", msgspec.Raw | msgspec.UnsetType, msgspec.UNSET) for number in range(len(names))]
    spelled = {slot[0]: name for slot, name in zip(slots, names, strict=True)}
    return msgspec.json.Decoder(msgspec.defstruct("Record", slots, rename=spelled, gc=False))


def _exact(line: bytes, path: str | None, name: float) -> Any:
    """Read an id again that is a number beyond 64 bits, digit by digit."""
    try:
        record = json.loads(line, parse_int=str, parse_float=str)
    except (ValueError, RecursionError):
        return name
    return pick(record, path or "")


def _why_not_json(line: bytes, error: Exception) -> str:
    message = str(error)
    if b"\0" in line:
        return "nul_bytes"
    if isinstance(error, RecursionError) or "ecursion" in message or "depth" in message:
        return "too_deep"
    try:
        line.decode("utf-8")
    except UnicodeDecodeError:
        return "bad_utf8"
    return "bad_utf8" if "surrogate" in message else "bad_json"
