"""Does a source hold what its configuration says: one record as it will be read, or which fields are there instead?

A wrong mapping is told before anything is read in earnest. Only what is certain is refused: a field that none of the
first records of up to 16 files has. The price is a second look at the beginning of a few files.
"""

import difflib
from collections.abc import Sequence
from datetime import datetime
from typing import Any, NamedTuple

from cluster.readable import visible
from data_ops.conversations.fields import ConversationFields
from data_ops.sources.kinds import open_source
from data_ops.sources.protocol import Source, SourceConfig
from data_ops.sources.quarantine import read_span

MAPPED = ("text", "time", "id")  # keys of a source that name a field of its records
SHOWN_CHARS = 60
SHOWN_FIELDS = 12


class FirstLook(NamedTuple):
    """What a first look at a source gave; both None: there is nothing to see yet."""

    sample: str | None = None
    problem: str | None = None


def first_look(label: str, config: SourceConfig) -> FirstLook:
    """Look at the first record of a source, and at the fields of the first records of some of its files."""
    settles = {"settle": 0} if "settle" in type(config).model_fields else {}
    source = open_source(label, config.model_copy(update=settles))  # a look takes nothing, so it waits for no writer
    asked = {key: field for key in MAPPED if isinstance(field := getattr(config, key, None), str)}
    fields = source.fields_there()
    absent = {key: field for key, field in asked.items() if fields and not _has(fields, field)}
    if (conversations := config.conversations) is not None:
        absent.pop("text", None)
        if fields and (problem := _no_conversation(label, conversations, fields)):
            return FirstLook(problem=problem)
    if absent:
        return FirstLook(problem="\n".join(_refusal(label, key, field, fields) for key, field in absent.items()))
    return FirstLook(sample=_sample(source))


def _has(fields: Sequence[str], path: str) -> bool:
    return any(field == path or field.startswith(f"{path}.") for field in fields)


def _no_conversation(label: str, wanted: ConversationFields, fields: Sequence[str]) -> str | None:
    """Say which fields there are where none of the records can hold a conversation."""
    if _has(fields, wanted.messages) or (_has(fields, wanted.prompt) and _has(fields, wanted.completion)):
        return None
    there, more = (
        ", ".join(visible(field) or repr(field) for field in fields[:SHOWN_FIELDS]),
        len(fields) - SHOWN_FIELDS,
    )
    return (
        f"sources.{label}: no record has the field {wanted.messages!r}, nor {wanted.prompt!r} with "
        f"{wanted.completion!r}; the fields are {there}{f' and {more} more' if more > 0 else ''}; set "
        f"sources.{label}.messages, or .prompt and .completion, to what they are called"
    )


def _refusal(label: str, key: str, wanted: str, fields: Sequence[str]) -> str:
    nested = [field for field in fields if field.endswith(f".{wanted}")]
    close = nested or difflib.get_close_matches(wanted, fields, n=1, cutoff=0.5)
    hint = f"; did you mean {key}: {visible(close[0])}?" if close else f"; set sources.{label}.{key} to one of them"
    more = f" and {len(fields) - SHOWN_FIELDS} more" if len(fields) > SHOWN_FIELDS else ""
    there = f"the fields are {', '.join(visible(field) or repr(field) for field in fields[:SHOWN_FIELDS])}{more}"
    return f"sources.{label}: no record has the field {wanted!r}; {there}{hint}"


def _sample(source: Source) -> str | None:
    """Show the first record that can be read, as it will be."""
    spans = source.discover({}, 1).spans
    rows = [row for span in spans[:1] for batch in read_span(source, span) for row in batch.to_pylist()]
    return _shown(rows[0], spans[0].partition) if rows else None


def _shown(row: dict[str, Any], partition: str) -> str:
    text = " ".join((row["text"] or "")[: 10 * SHOWN_CHARS].split())
    if row["error"]:
        return f"{partition}: the first record cannot be read ({row['error'].replace('_', ' ')}): {text[:SHOWN_CHARS]}"
    moment: datetime | None = row["event_time"]
    absent = "a time that is not understood" if row["time_note"] else "no time"
    when = moment.strftime("%Y-%m-%d %H:%M:%S UTC") if moment else absent
    name = f"id {row['external_id'][:SHOWN_CHARS]}" if row["external_id"] else "no id"
    return f"{partition}: {when}, {name}, text '{text[:SHOWN_CHARS]}{'...' if len(text) > SHOWN_CHARS else ''}'"
