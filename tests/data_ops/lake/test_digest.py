"""Is a document that changed in the lake noticed before it is used, and is nothing else taken for a change?"""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cluster.storage.seal import DamagedError
from cluster.storage.store import Store
from data_ops.curation.config import CurateConfig
from data_ops.documents.frontier import Frontier
from data_ops.ingest.seen import Histories
from data_ops.kernels.arrays import ids_to_array
from data_ops.lake.digest import column_digest, differences, digest_of
from data_ops.lake.erase import erase
from data_ops.lake.lake import Lake
from data_ops.lake.log import TOKEN_COLUMNS
from data_ops.lake.progress import Reach
from data_ops.lake.schemas import STORED_DOCUMENT_SCHEMA
from data_ops.lake.window import window_row
from data_ops.sampling.reservoir import ReservoirConfig
from data_ops.sampling.shard import Shard
from ray_jobs.ingest.settings import ingest_settings
from tests.support.log_without_ray import plan_window, run_window
from tests.support.runs import write_documents
from tests.support.small_store import small_config

pytestmark = pytest.mark.slow

TEXT = st.one_of(st.none(), st.text(max_size=4))
TOKENS = st.one_of(st.none(), st.lists(st.integers(-9, 9), max_size=3))


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    """Five windows of real documents."""
    write_documents(tmp_path / "corpus" / "a.jsonl", 60)
    lake = Lake(Store.open(f"{tmp_path}/lake"))
    lake.create()
    settings = ingest_settings(small_config(tmp_path), None)
    seen = Histories(lake, settings.curate.remembered)
    while (window := plan_window(lake, settings)) is not None:
        lake.commit_window(*run_window(lake, settings, window, seen))
    return lake


def change(lake: Lake, window: int, column: str, value: object, row: int = 2) -> str:
    """Change one value of a window in its file, as if it had been written so; the file's name."""
    name = lake.files_of(window)[0]
    place = Path(str(lake.store.local_path(f"documents/{name}")))
    rows = pq.read_table(place)
    values = rows[column].to_pylist()
    values[row] = value
    field = rows.schema.field(column)
    pq.write_table(rows.set_column(rows.column_names.index(column), field, pa.array(values, field.type)), place)
    return name


def seen_of(lake: Lake) -> None:
    Histories(lake, CurateConfig().remembered).advance(4)


READERS = {
    "documents": lambda lake: lake.documents(0, 9),
    "text": lambda lake: lake.documents(2, 3, TOKEN_COLUMNS, ["kept"]),
    "shard": lambda lake: Shard(lake, ReservoirConfig(capacity=9, shards=1), 7, 0).advance(Frontier.through(4)),
    "seen": seen_of,
}


@pytest.mark.parametrize(
    ("column", "value", "readers"),
    [
        ("tokens", [1, 2, 3], ("documents", "text", "shard")),
        ("text", "another text", ("documents",)),
        ("id", bytes(16), ("documents", "text", "shard", "seen")),
        ("event_time", None, ("documents", "shard")),
        ("weight", 3.5, ("documents", "shard")),
        ("fate", "dropped", ("documents", "text", "shard", "seen")),
        ("external_id", "somebody", ("documents",)),
    ],
)
def test_a_value_that_changed_is_named_by_every_reader_of_its_column(lake, column, value, readers):
    row = lake.documents(2, 2, ["fate"])["fate"].to_pylist().index("kept")
    name = change(lake, 2, column, value, row)
    for reader in readers:
        with pytest.raises(DamagedError, match=rf"window 2 of .*/documents is damaged: .*{name}.*restore that"):
            READERS[reader](lake)
    assert lake.documents(0, 1).num_rows == 24, "the other windows are as they were"


def test_a_file_that_the_log_no_longer_names_is_missed(lake):
    entry = Path(str(lake.store.local_path("documents/_delta_log/00000000000000000003.json")))
    entry.write_text(entry.read_text().replace('{"add":', '{"adf":'))
    with pytest.raises(DamagedError, match=r"window 2 of .*: 0 of \d+ kept documents are there"):
        lake.documents(0, 9)


def test_a_window_whose_row_is_gone_is_missed(lake):
    entry = Path(str(lake.store.local_path("windows/_delta_log/00000000000000000004.json")))
    entry.write_text(entry.read_text().replace('{"add":', '{"adf":'))
    for read in (lake.windows, lake.cursors, lambda: Reach().catch_up(lake)):
        with pytest.raises(DamagedError, match=r"/windows is damaged: window 1 is missing"):
            read()
    with pytest.raises(DamagedError, match=r"window 1 of .* is damaged: its row in `windows` is missing"):
        lake.documents(0, 9)


@pytest.mark.parametrize("column", ["spans", "cursors", "counts"])
def test_a_row_of_a_window_that_changed_is_named(lake, column):
    for place in Path(str(lake.store.local_path("windows"))).glob("*.parquet"):
        rows = pq.read_table(place)
        if (rows["window"][0].as_py(), rows["event"][0].as_py()) == (3, "committed"):
            changed = rows[column][0].as_py().replace("1", "2", 1)
            assert changed != rows[column][0].as_py()
            where = rows.column_names.index(column)
            pq.write_table(rows.set_column(where, rows.schema.field(column), pa.array([changed])), place)
    with pytest.raises(DamagedError, match=f"{column} of window 3 in .*/windows is damaged"):
        lake.windows()


def test_forgetting_leaves_the_lake_whole_wherever_it_is_killed(lake, monkeypatch):
    gone = lake.documents(1, 1, ["id"], ["kept"])["id"]
    lake.forget(ids_to_array(gone.slice(0, 2)))
    assert lake.documents(0, 9).num_rows == 60, "hidden, not yet rewritten"

    def killed(*given: object, **more: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr("data_ops.lake.erase.write_deltalake", killed)
        erase(lake)
    assert lake.documents(0, 9).num_rows == 60, "a digest more, and not yet rewritten"
    assert erase(lake) == 2
    assert lake.documents(0, 9)["fate"].to_pylist().count("forgotten") == 2
    change(lake, 1, "tokens", [7], lake.documents(1, 1)["fate"].to_pylist().index("kept"))
    with pytest.raises(DamagedError, match="window 1 of"):
        lake.documents(0, 9)


def test_what_is_damaged_is_not_rewritten_by_forgetting(lake):
    change(lake, 1, "text", "another text", lake.documents(1, 1)["fate"].to_pylist().index("held_out"))
    lake.forget(ids_to_array(lake.documents(1, 1, ["id"], ["kept"])["id"].slice(0, 1)))
    with pytest.raises(DamagedError, match="text of the held_out documents changed"):
        erase(lake)


def test_a_window_of_an_older_version_is_read_without_a_digest(lake):
    window, rows = lake.windows()[0][-1], lake.stored(4, 4)
    number = pa.array(np.full(rows.num_rows, 5))
    older = rows.set_column(rows.column_names.index("window"), STORED_DOCUMENT_SCHEMA.field("window"), number)
    lake._append("documents", "documents", 5, older)
    lake._append("windows", "committed", 5, window_row(replace(window, window=5, documents=None), "committed"))
    assert lake.digests(4, 5)[5] == []
    assert lake.documents(5, 5).num_rows == rows.num_rows


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(TEXT, TOKENS, st.none() | st.floats(allow_nan=False)), max_size=8), st.data())
def test_a_digest_is_of_the_values_and_not_of_their_layout(rows, data):
    kinds = (pa.string(), pa.list_(pa.int32()), pa.float64())
    columns = [pa.array([row[i] for row in rows], kind) for i, kind in enumerate(kinds)]
    wide = (pa.large_string(), pa.large_list(pa.int32()), pa.float64())
    cut = data.draw(st.integers(0, len(rows)))
    for column, other in zip(columns, wide, strict=True):
        whole = column_digest(pa.chunked_array([column]))
        assert column_digest(pa.chunked_array([column[:cut], column[cut:]], column.type)) == whole
        assert column_digest(pa.chunked_array([pa.concat_arrays([column, column])[len(rows) :]])) == whole
        assert column_digest(pa.chunked_array([column.cast(other)])) == whole
        if len(rows):
            changed = [None if value is not None else column.to_pylist()[0] for value in column.to_pylist()[:1]]
            again = pa.concat_arrays([pa.array(changed, column.type), column[1:]])
            assert (column_digest(pa.chunked_array([again])) == whole) == again.equals(column)


def test_of_each_fate_only_its_own_rows_are_compared():
    fates = ["kept", "held_out", "kept", "dropped"]
    rows = pa.table({"window": [3] * 4, "position": range(4), "fate": fates, "text": ["a", "b", "c", None]})
    digest = digest_of(rows)
    assert {fate: each.rows for fate, each in digest.items()} == {"kept": 2, "held_out": 1, "dropped": 1}
    kept = rows.filter(pa.array([True, False, True, False]))
    assert differences(kept, ["kept"], {3: [digest]}) == {}
    assert differences(kept.slice(1), ["kept"], {3: [digest]}) == {3: ["1 of 2 kept documents are there"]}
    assert differences(rows.slice(0, 0), ["quarantined"], {3: [digest], 4: [{}]}) == {}
    swapped = kept.set_column(3, "text", pa.array(["c", "a"]))
    assert differences(swapped, ["kept"], {3: [digest]}) == {3: ["text of the kept documents changed"]}
    assert differences(swapped, ["kept"], {3: [{}, digest]}) == {3: ["text of the kept documents changed"]}
    assert differences(kept, ["kept"], {3: [{}, digest]}) == {}, "it may be either"
