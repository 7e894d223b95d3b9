"""How is one thing that is wrong with a launch file said, and how are its keys compared with those that exist?"""

import difflib
from collections.abc import Collection, Iterator, Mapping
from typing import NamedTuple


class Finding(NamedTuple):
    """Where, what is wrong, and what to do about it."""

    place: str
    problem: str
    mend: str


def mapping(value: object) -> dict[str, object]:
    """Return a mapping of the file as it is, and whatever else stands in its place as one without keys.

    That it is none is for Ray's schema, or the table of fields, to say.
    """
    return value if isinstance(value, dict) else {}


def items(value: object) -> list[object]:
    """Return a list of the file as it is, and whatever else stands in its place as one without items."""
    return value if isinstance(value, list) else []


def unknown_keys(given: Mapping[str, object], known: Collection[str], place: str) -> Iterator[Finding]:
    """A finding for each key that does not exist, with the one that was probably meant."""
    for key in given:
        if key not in known:
            near = difflib.get_close_matches(str(key), list(known), n=1)
            yield Finding(
                f"{place}.{key}".lstrip("."),
                "is no key that is known there",
                f"did you mean {near[0]}?" if near else f"use one of {', '.join(sorted(known))}",
            )
