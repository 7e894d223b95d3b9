"""Is a manifest or a note that changed in its table named before it is used?"""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from cluster.storage.seal import DamagedError
from cluster.storage.store import Store
from data_ops.lake.lake import Lake

DOCUMENT = {"id": bytes(range(16)), "window": 1, "position": 2, "num_tokens": 3}
ROUND = {"plan": '{"round": 0, "steps": 5}', "fresh": [DOCUMENT] * 2, "replay": [], "shed": [DOCUMENT]}
NOTE = {"step": 5, "round": 0, "step_in_round": 5, "checkpoint": "news/00000005", "state": '{"position": {}}'}


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    """Two rounds and two notes of one run."""
    lake = Lake(Store.open(str(tmp_path)))
    lake.create()
    for number in range(2):
        lake.add_round("news", number, ROUND)
        lake.add_ledger("news", {**NOTE, "step": 5 + number})
    return lake


def change(lake: Lake, table: str, column: str, value: Any) -> None:
    """Change a column of the row that was written last."""
    places = sorted(Path(str(lake.store.local_path(table))).glob("*.parquet"), key=lambda place: place.stat().st_mtime)
    rows = pq.read_table(places[-1])
    field = rows.schema.field(column)
    pq.write_table(rows.set_column(rows.column_names.index(column), field, pa.array([value], field.type)), places[-1])


def test_what_was_written_comes_back_without_its_seal(lake):
    row = lake.rounds("news", 1).to_pylist()[0]
    assert row == {"run": "news", "round": 1, **ROUND}
    assert lake.ledger("news")["state"].to_pylist() == [NOTE["state"]] * 2
    assert lake.runs() == {"news"}
    assert not lake.add_ledger("news", {**NOTE, "step": 6}), "the last note says the same"
    assert not lake.add_round("news", 1, ROUND)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("plan", '{"round": 0, "steps": 6, "digest": "0123456789abcdef0123456789abcdef"}'),
        ("fresh", [DOCUMENT]),
        ("replay", [DOCUMENT]),
        ("shed", [{**DOCUMENT, "position": 3}]),
        ("shed", [{**DOCUMENT, "id": bytes(16)}]),
    ],
)
def test_a_manifest_that_changed_is_named(lake, column, value):
    change(lake, "rounds", column, value)
    with pytest.raises(DamagedError, match=r"round 1 of run news in .*/rounds is damaged"):
        lake.rounds("news", 1)
    assert lake.rounds("news", 0).num_rows == 1


def test_a_manifest_that_is_not_where_it_was_written_is_missed(lake):
    change(lake, "rounds", "run", "nexs")
    with pytest.raises(DamagedError, match=r"/rounds is damaged: rows 1 of run news are not there"):
        lake.rounds("news", 1)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("column", "value"), [("step", 7), ("checkpoint", "news/6"), ("step_in_round", 1), ("state", '{"a": 1}')]
)
def test_a_note_that_changed_is_named(lake, column, value):
    if column == "state":
        value = lake._read("ledger").to_pylist()[1]["state"].replace("position", "positiom")
    change(lake, "ledger", column, value)
    for read in (lambda: lake.ledger("news"), lambda: lake.add_ledger("news", {**NOTE, "step": 8})):
        with pytest.raises(DamagedError, match=r"note 1 of run news in .*/ledger is damaged"):
            read()


def test_a_note_that_is_gone_is_missed(lake):
    change(lake, "ledger", "sequence", 9)
    for read in (lambda: lake.ledger("news"), lambda: lake.add_ledger("news", {**NOTE, "step": 8})):
        with pytest.raises(DamagedError, match=r"/ledger is damaged: rows 1 of run news are not there"):
            read()


def test_rows_of_an_older_version_are_taken_as_they_are(lake):
    change(lake, "rounds", "plan", ROUND["plan"])
    change(lake, "ledger", "state", NOTE["state"])
    assert lake.rounds("news", 1)["plan"].to_pylist() == [ROUND["plan"]]
    assert lake.ledger("news")["state"].to_pylist() == [NOTE["state"]] * 2
