"""Does one changed bit of a line always show, and does the same file hold ids of any kind?"""

import numpy as np
import pytest

from data_ops.kernels.sorted_rows import (
    HEADER,
    WORDS_A_LINE,
    ask_lines,
    fill_lines,
    first_key,
    in_order_of_rows,
    number_of_lines,
    sum_of,
)


def a_file(ids: np.ndarray) -> np.ndarray:
    """Words of a file, with an empty beginning."""
    ids, num_lines = in_order_of_rows(ids), number_of_lines(len(ids))
    lines = np.zeros(WORDS_A_LINE * (num_lines + 1), np.uint64)
    assert fill_lines(ids, 0, lines, 0, num_lines)
    return np.concatenate([np.zeros(HEADER, np.uint64), lines, ids.reshape(-1)])


def asked(words: np.ndarray, ids: np.ndarray) -> int:
    """As of a mapped file, which cannot be written: numba compiles nothing for the test alone."""
    words, keys = np.frombuffer(words.tobytes(), np.uint64), np.ascontiguousarray(ids[:, 0])
    return ask_lines(words, 1, keys, np.empty(len(ids) + 1, np.int64))


def test_every_bit_of_a_line_that_is_changed_shows_when_it_is_asked():
    ids = np.random.default_rng(0).integers(0, 2**64, (30, 2), np.uint64)
    words = a_file(ids)
    assert asked(words, ids) == 30
    for bit in range(64 * WORDS_A_LINE):
        changed = words.copy()
        changed[HEADER + bit // 64] ^= np.uint64(1) << np.uint64(bit % 64)
        assert asked(changed, ids[:1]) == -1, bit
    words[HEADER:] = 0
    assert asked(words, ids[:1]) == -1, "nor do zeros fit"


@pytest.mark.parametrize("shift", [0, 40, 64])
def test_a_line_holds_the_ids_from_its_first_key_on_up_to_that_of_the_next(shift):
    ids = np.random.default_rng(1).integers(0, 2**64, (500, 2), np.uint64)
    ids[:, 0] = ids[:, 0] >> np.uint64(shift) if shift < 64 else 0
    ids, num_lines = in_order_of_rows(ids), number_of_lines(500)
    begins = a_file(ids)[HEADER::WORDS_A_LINE][: num_lines + 1] & np.uint64((1 << 40) - 1)
    keys = [first_key(line, num_lines) for line in range(num_lines)]
    assert begins[:-1].tolist() == np.searchsorted(ids[:, 0], np.array(keys, np.uint64)).tolist() and begins[-1] == 500


def test_a_sum_is_the_same_in_any_order_and_adds_up():
    ids = np.random.default_rng(2).integers(0, 2**64, (50, 2), np.uint64)
    assert int(sum_of(ids)) == int(sum_of(ids[::-1].copy())) == (int(sum_of(ids[:9])) + int(sum_of(ids[9:]))) % 2**64
