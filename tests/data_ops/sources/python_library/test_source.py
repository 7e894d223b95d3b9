"""Is the standard library a deterministic, dated stream of many documents?"""

from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pytest
from pydantic import TypeAdapter, ValidationError

from data_ops.documents.document import RECORD_SCHEMA
from data_ops.sources.kinds import ConfiguredSource, PythonLibraryConfig, Span, open_source
from data_ops.sources.python_library.pieces import cut_lines, cut_source

SMALL = PythonLibraryConfig(megabytes=0.3)


def read_all(config: PythonLibraryConfig, max_records: int) -> list[dict]:
    source, cursor, rows = open_source("python", config), {}, []
    while True:
        found = source.discover(cursor, max_records)
        assert sum(span.num_records for span in found.spans) <= max_records
        for span in found.spans:
            batches = list(source.read(Span(**asdict(span))))
            assert all(batch.schema.equals(RECORD_SCHEMA) for batch in batches)
            assert sum(map(len, batches)) == span.num_records
            rows += [row | {"partition": span.partition} for row in pa.Table.from_batches(batches).to_pylist()]
        cursor = found.cursor
        if found.drained:
            assert source.discover(cursor, max_records).spans == []
            return rows


@pytest.fixture(scope="module")
def documents() -> list[dict]:
    return read_all(SMALL, 10**6)


@pytest.mark.slow
@pytest.mark.parametrize("max_records", [1, 7, 50])
def test_windows_of_any_size_deliver_the_same_documents_in_the_same_order(documents: list[dict], max_records: int):
    assert read_all(SMALL, max_records) == documents


@pytest.mark.slow
def test_each_era_counts_its_records_from_zero_and_lies_inside_its_month(documents: list[dict]):
    eras = sorted({row["partition"] for row in documents})
    assert len(eras) >= 6
    for month, era in enumerate(eras, start=1):
        rows = [row for row in documents if row["partition"] == era]
        times = [row["event_time"] for row in rows]
        assert [row["offset"] for row in rows] == list(range(len(rows)))
        assert times == sorted(times) and {(t.year, t.month) for t in times} == {(2026, month)}


def test_the_asked_amount_of_text_comes_in_documents_of_readable_size(documents: list[dict]):
    sizes = [len(row["text"].encode()) for row in documents]
    assert 0.3e6 <= sum(sizes) <= 0.4e6
    assert sorted(sizes)[len(sizes) // 2] in range(500, 3000)
    assert all(
        row["error"] is None and row["num_bytes_read"] == size for row, size in zip(documents, sizes, strict=True)
    )


@pytest.mark.slow
def test_the_default_is_some_three_megabytes_in_thousands_of_documents():
    found = open_source("python", PythonLibraryConfig()).discover({}, 10**9)
    assert sum(span.num_records for span in found.spans) >= 2000
    months = [
        datetime(2026 + m // 13, (m - 1) % 12 + 1, 1, tzinfo=UTC).timestamp() for m in range(2, len(found.spans) + 2)
    ]
    assert [span.modified_s for span in found.spans] == months


def test_names_and_texts_come_once(documents: list[dict]):
    names = [(row["partition"], row["external_id"]) for row in documents]
    assert len(set(names)) == len(names)


def test_a_source_file_is_cut_before_definitions_and_loses_nothing(tmp_path: Path):
    text = '"""Doc."""\n' + "".join(f"\n@mark\ndef f{i}():\n    return {'x' * 400!r}\n" for i in range(5))
    text += "\nclass Big:\n" + "".join(f"    def g{i}(self):\n        return {'y' * 700!r}\n" for i in range(8))
    path = tmp_path / "module.py"
    path.write_text(text)
    pieces = cut_source(path)
    assert "".join(piece for _, piece in pieces) == text
    assert all(piece.startswith(("@mark", "class", "    def ", '"""')) for _, piece in pieces)
    assert len(pieces) >= 6 and max(len(piece) for _, piece in pieces) < 3000
    lines = text.splitlines(keepends=True)
    assert all(piece.startswith(lines[number - 1]) for number, piece in pieces)


def test_a_file_python_cannot_parse_gives_nothing(tmp_path: Path):
    path = tmp_path / "old.py"
    path.write_text("print 'water'\n")
    assert cut_source(path) == []


def test_lines_are_cut_only_where_allowed():
    assert cut_lines(["aa\n", "bb\n", "cc\n"], 10, [11, 12], 4) == [(10, "aa\nbb\n"), (12, "cc\n")]
    assert cut_lines([], 1, [], 1) == []


def test_the_kind_chooses_the_config_and_bounds_are_checked():
    read = TypeAdapter(ConfiguredSource).validate_python
    assert read({"kind": "python", "megabytes": 1}) == PythonLibraryConfig(megabytes=1)
    for wrong in ({"kind": "python", "megabytes": 0.1}, {"kind": "python", "path": "x"}, {"kind": "pyton"}):
        with pytest.raises(ValidationError):
            read(wrong)
