"""Do sums and samples come out the same wherever a stretch of records ends?"""

from collections import Counter

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_ops.survey.sums import GroupSums, PlaceSample

pytestmark = pytest.mark.slow

ROWS = st.lists(
    st.tuples(st.sampled_from(["a", "b", None]), st.sampled_from(["x", "y"]), st.integers(0, 9)), min_size=1
)


def table(rows: list[tuple[str | None, str, int]], first: int = 0) -> pa.Table:
    columns = list(zip(*rows, strict=True)) or [(), (), ()]
    places = range(first, first + len(rows))
    windows, positions = [n // 5 for n in places], [n % 5 for n in places]
    kinds = (pa.string(), pa.string(), pa.int64(), pa.int64(), pa.int64())
    arrays = [pa.array(c, k) for c, k in zip([*columns, windows, positions], kinds, strict=True)]
    return pa.table(arrays, names=["key", "kind", "n", "window", "position"])


@given(ROWS, st.integers(0, 30))
def test_sums_do_not_depend_on_where_rows_are_cut(rows: list[tuple[str | None, str, int]], cut: int) -> None:
    sums = GroupSums(["key", "kind"], ["n"])
    for part in (rows[:cut], rows[cut:]):
        sums.add(table(part))
    expected: Counter[tuple[str | None, str]] = Counter()
    for key, kind, n in rows:
        expected[key, kind] += n
    found = sums.table()
    assert found is not None
    assert {(r["key"], r["kind"]): r["n"] for r in found.to_pylist()} == dict.fromkeys(expected, 0) | dict(expected)
    ordered = [(r["key"] is None, r["key"], r["kind"]) for r in found.to_pylist()]
    assert ordered == sorted(ordered, key=lambda r: (r[0], r[1] or "", r[2]))


@given(ROWS, st.integers(0, 30), st.integers(1, 4), st.integers(0, 2**64 - 1))
def test_samples_are_the_same_for_every_cut_and_as_many_as_there_are(
    rows: list[tuple[str | None, str, int]], cut: int, number: int, seed: int
) -> None:
    whole, parts = PlaceSample(["key", "kind"], number, seed), PlaceSample(["key", "kind"], number, seed)
    whole.add(table(rows))
    parts.add(table(rows[:cut]))
    parts.add(table(rows[cut:], min(cut, len(rows))))
    one, other = whole.table(), parts.table()
    assert one is not None and other is not None and one.to_pylist() == other.to_pylist()
    there = Counter((key, kind) for key, kind, _ in rows)
    assert Counter((r["key"], r["kind"]) for r in one.to_pylist()) == {k: min(n, number) for k, n in there.items()}


def test_another_seed_chooses_others() -> None:
    def chosen(seed: int) -> list[dict[str, object]]:
        one = PlaceSample(["key"], 3, seed)
        one.add(table([("a", "x", 0)] * 100))
        found = one.table()
        assert found is not None
        return found.to_pylist()

    assert chosen(1) == chosen(1) != chosen(2)
