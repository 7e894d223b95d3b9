"""How does a value begin that was written through a registry?

Confluent's wire format: a zero byte, the id of the schema as four bytes, and for Protobuf the way to the message within
its file: how many numbers follow, then the place of each message among its neighbours, as zigzag varints; a single zero
is the first message of the file.
"""

import struct
from typing import NamedTuple

PREFIX = struct.Struct(">bI")
MOST_INDEXES = 64  # messages within messages; Protobuf itself reads no more than 100


class UnreadableError(ValueError):
    """A value, or its schema, cannot be read; `reason` is one of data_ops.documents.reasons."""

    def __init__(self, why: str, reason: str) -> None:
        super().__init__(why)
        self.reason = reason


class Framed(NamedTuple):
    """What a value says of itself, and where its own bytes begin."""

    schema_id: int
    indexes: tuple[int, ...]  # of Protobuf; of Avro none
    begin: int


def unframed(value: bytes, *, has_indexes: bool) -> Framed:
    """Read the beginning of a value. UnreadableError (no_schema_id) where it does not begin so.

    >>> unframed(bytes([0, 0, 0, 0, 7, 0, 10]), has_indexes=True)
    Framed(schema_id=7, indexes=(0,), begin=6)
    >>> unframed(bytes([0, 0, 0, 0, 7, 4, 2, 0]), has_indexes=True)
    Framed(schema_id=7, indexes=(1, 0), begin=8)
    """
    if len(value) < PREFIX.size or value[0] != 0:
        raise UnreadableError("it does not begin with a zero byte and the id of a schema", "no_schema_id")
    _, schema_id = PREFIX.unpack_from(value)
    if not has_indexes:
        return Framed(schema_id, (), PREFIX.size)
    count, place = _varint(value, PREFIX.size)
    if not 0 <= count <= MOST_INDEXES:
        raise UnreadableError(f"it says that {count} numbers lead to its message", "no_schema_id")
    indexes = []
    for _ in range(count):
        index, place = _varint(value, place)
        indexes.append(index)
    if any(index < 0 for index in indexes):
        raise UnreadableError(f"it names the message {indexes}, and places begin at 0", "no_schema_id")
    return Framed(schema_id, tuple(indexes) or (0,), place)


def _varint(value: bytes, place: int) -> tuple[int, int]:
    """Read a zigzag varint of at most five bytes; the number, and where it ends."""
    number = 0
    for at in range(place, min(place + 5, len(value))):
        number |= (value[at] & 127) << 7 * (at - place)
        if value[at] < 128:
            return (number >> 1) ^ -(number & 1), at + 1
    raise UnreadableError("the numbers that lead to its message do not end", "no_schema_id")
