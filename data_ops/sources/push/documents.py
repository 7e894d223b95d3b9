"""Which documents are in a request, and how do they stand in the spool?

One or many: a JSON object, a list of them, JSON lines, or a plain text. A request is taken as a whole or not at all.
"""

import uuid
from datetime import UTC, datetime
from typing import Any, NamedTuple

import orjson

from cluster.http.asgi import RefusedError

KEY = "_push"  # the field of a line that says to which request with an idempotency key it belongs
TYPES = ("application/json", "application/x-ndjson", "application/jsonl", "text/plain")


class SpoolLine(NamedTuple):
    """A document as it will stand in the spool, without a newline, and its id."""

    id: str
    data: bytes


def lines_of(body: bytes, content_type: str, key: str | None) -> list[SpoolLine]:
    """Make the lines of a request. RefusedError, with what is wrong and where, if one of its documents is none."""
    documents = _documents(body, content_type.partition(";")[0].strip().lower())
    if not documents:
        raise RefusedError(f"{len(body)} bytes hold no document; send an object with a text, or a list of them", 400)
    arrived = datetime.now(UTC).isoformat()
    lines = []
    for number, document in enumerate(documents):
        if not isinstance(document, dict):
            raise RefusedError(f"document {number} is no object; send one with a field text", 400)
        text = document.get("text")
        if not isinstance(text, str) or not text.strip():
            raise RefusedError(f"document {number} has no text; give it a field text that is not blank", 400)
        if KEY in document:
            raise RefusedError(f"document {number} has a field {KEY}, which is ours; name it otherwise", 400)
        name = str(document.get("id") or (f"{key}/{number}" if key else uuid.uuid4().hex))
        whole = {**document, "id": name, "time": document.get("time") or arrived}
        if key is not None:
            whole[KEY] = {"key": key, "part": number, "parts": len(documents)}
        lines.append(SpoolLine(name, orjson.dumps(whole)))
    return lines


def part_of(line: bytes) -> tuple[str, int, int, str] | None:
    """Read of a line to which request it belongs: key, number, of how many, its id; None where it has no key."""
    if b'"_push":' not in line:
        return None
    try:
        document = orjson.loads(line)
        part = document[KEY]
        return str(part["key"]), int(part["part"]), int(part["parts"]), str(document["id"])
    except (ValueError, KeyError, TypeError):
        return None


def _documents(body: bytes, content_type: str) -> list[Any]:
    if content_type not in TYPES:
        raise RefusedError(f"content type {content_type or 'none'} is not read; use one of {', '.join(TYPES)}", 415)
    try:
        if content_type == "text/plain":
            return [{"text": body.decode()}]
        if content_type == "application/json":
            value = orjson.loads(body)
            return value if isinstance(value, list) else [value]
        return [orjson.loads(line) for line in body.splitlines() if line.strip()]
    except ValueError as error:
        raise RefusedError(f"the body cannot be read as {content_type}: {error}", 400) from None
