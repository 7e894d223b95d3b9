"""Are rows put in order whatever order they came in, also where a column in one piece would be too large?"""

import numpy as np
import pyarrow as pa
import pytest

from data_ops.kernels import arrays
from data_ops.kernels.arrays import in_order


@pytest.mark.parametrize("taken_at_once", [1 << 30, 0])
def test_pieces_come_in_order_whatever_order_they_came_in(monkeypatch, taken_at_once):
    monkeypatch.setattr(arrays, "TAKEN_AT_ONCE", taken_at_once)
    generator = np.random.default_rng(0)
    rows = [(span, offset) for span in range(7) for offset in range(generator.integers(1, 40))]
    pieces = [rows[i : i + 9] for i in range(0, len(rows), 9)]
    for _ in range(20):
        generator.shuffle(pieces)
        table = pa.concat_tables([pa.table({"span": [a for a, _ in p], "offset": [b for _, b in p]}) for p in pieces])
        ordered = in_order(table, "span", "offset")
        assert list(zip(ordered["span"].to_pylist(), ordered["offset"].to_pylist(), strict=True)) == rows


def test_more_text_than_one_piece_holds_is_put_in_order():
    """2.4 GB of text by 75 slices of one chunk: `take` and `sort_by` fail with an offset overflow."""
    chunk = pa.array(["x" * (1 << 20)] * 32)
    pieces = [pa.table({"span": [n] * 32, "offset": list(range(32)), "text": chunk}) for n in reversed(range(75))]
    table = pa.concat_tables(pieces)
    ordered = in_order(table, "span", "offset")
    assert table.nbytes > 2**31 and ordered["span"].to_pylist() == sorted(table["span"].to_pylist())
    assert max(part.nbytes for part in ordered["text"].chunks) < 2**26


def test_rows_in_order_are_not_copied():
    table = pa.table({"span": [0, 0, 1], "offset": [4, 5, 0]})
    assert in_order(table, "span", "offset") is table
