"""Is the beginning of a value read as Confluent writes it, and refused as anything else?"""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_ops.sources.kafka.registered.wire import UnreadableError, unframed


def zigzag(number: int) -> bytes:
    number, out = (number << 1) ^ (number >> 63), b""
    while number > 127:
        number, out = number >> 7, out + bytes([number & 127 | 128])
    return out + bytes([number])


@given(st.integers(0, 2**32 - 1), st.lists(st.integers(0, 2**31 - 1), min_size=1, max_size=9), st.binary(max_size=9))
def test_a_value_says_its_schema_and_its_message(number, indexes, rest):
    way = b"".join(map(zigzag, [len(indexes), *indexes]))
    value = b"\0" + number.to_bytes(4, "big") + way + rest
    assert unframed(value, has_indexes=True) == (number, tuple(indexes), 5 + len(way))
    assert unframed(value, has_indexes=False) == (number, (), 5)


def test_a_single_zero_is_the_first_message():
    assert unframed(b"\0\0\0\1\0\0", has_indexes=True) == (256, (0,), 6)


NO_IDS = [b"", b"\0\0\0\0", b"\1\0\0\0\7\0", b"{}", b'{"text": "a"}']
NO_WAYS = [b"", b"\x80\x80\x80\x80\x80", b"\1", b"\x02\1", b"\xff\1", b"\x04\0"]


@pytest.mark.parametrize("value", [*NO_IDS, *(b"\0\0\0\0\1" + way for way in NO_WAYS)])
def test_what_begins_otherwise_is_told(value):
    with pytest.raises(UnreadableError) as caught:
        unframed(value, has_indexes=True)
    assert caught.value.reason == "no_schema_id"
