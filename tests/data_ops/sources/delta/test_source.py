"""Does each row of a Delta table come once, in a fixed order, as what it is, whatever is done to the table?"""

import datetime as dt
import shutil
import threading
from pathlib import Path

import pyarrow as pa
import pytest
from deltalake import DeltaTable, WriterProperties, write_deltalake

from data_ops.sources.files.formats.parquet import row_groups
from data_ops.sources.protocol import LossError
from tests.cluster.storage.moto import moto_bucket
from tests.data_ops.sources.delta.writing import (
    FEED,
    DeltaReader,
    append,
    rows,
    rows_of,
    source_of,
    table_at,
    texts,
    vacuum,
)

NOW = dt.datetime(2026, 11, 30, 12, tzinfo=dt.UTC)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A table of two versions with 20 rows; its name is an odd one."""
    path = tmp_path / "an odd, table"
    append(path, rows(0, 10))
    append(path, rows(10, 20))
    return path


def test_rows_are_those_that_deltalake_reads_with_their_types(tmp_path: Path):
    times = [NOW + dt.timedelta(seconds=n) for n in range(6)]
    table = rows(0, 6, at=pa.array(times, pa.timestamp("us", "UTC")), meta=[{"body": f"nested {n}"} for n in range(6)])
    append(tmp_path / "t", table.slice(0, 4))
    append(tmp_path / "t", table.slice(4))
    reader = DeltaReader(tmp_path / "t", text="meta.body", time="at")
    reader.poll()
    second = table_at(tmp_path / "t").to_pyarrow_table().sort_by("id").to_pylist()
    assert [(r["text"], r["external_id"], r["event_time"]) for r in reader.rows] == [
        (row["meta"]["body"], str(row["id"]), row["at"]) for row in second
    ]
    assert [r["offset"] for r in reader.rows] == list(range(6))


def test_appended_rows_come_once_in_the_order_of_the_versions(path: Path):
    reader = DeltaReader(path)
    assert reader.poll(7) == texts(0, 20) and reader.poll() == []
    append(path, rows(20, 23))
    append(path, rows(23, 25))
    assert reader.look(4).num_behind == 1
    reader.restart()
    assert reader.poll() == texts(24, 25)


def test_optimize_and_z_order_bring_no_row_again_and_what_is_vacuumed_behind_us_is_no_loss(path: Path):
    reader = DeltaReader(path)
    reader.poll()
    table_at(path).optimize.compact()
    append(path, rows(20, 22))
    table_at(path).optimize.z_order(["id"])
    assert reader.poll() == texts(20, 22) and reader.told == []
    assert vacuum(path)
    reader.restart()
    append(path, rows(22, 24))
    assert reader.poll() == texts(22, 24)


def test_a_window_that_ends_within_a_file_goes_on_there_though_the_file_was_compacted_meanwhile(path: Path):
    reader = DeltaReader(path)
    reader.look(15)
    table_at(path).optimize.compact()
    append(path, rows(20, 21))
    reader.restart()
    assert reader.poll() == texts(15, 21)


def test_spans_end_with_row_groups_so_that_no_reader_holds_a_file(tmp_path: Path):
    append(tmp_path / "t", rows(0, 2500), writer_properties=WriterProperties(max_row_group_size=1000))
    reader = DeltaReader(tmp_path / "t")
    assert reader.look(2200).drained is False
    assert [(span.start, span.end) for span in reader.spans] == [(0, 1000), (1000, 2000), (2000, 2200)]
    assert reader.poll() == texts(2200, 2500)


@pytest.mark.parametrize("configuration", [{}, FEED], ids=["copies", "feed"])
def test_changed_rows_come_and_deleted_ones_do_not(tmp_path: Path, configuration: dict):
    path = tmp_path / "t"
    append(path, rows(0, 10), configuration=configuration)
    reader = DeltaReader(path)
    reader.poll()
    table_at(path).delete("id = 3")
    assert reader.poll() == []
    table_at(path).update(predicate="id = 5", updates={"text": "'changed'"})
    changed = reader.poll()
    merged = pa.table({"id": [7, 50], "text": ["merged", "inserted"]})
    merge = table_at(path).merge(merged, "s.id = t.id", "s", "t")
    merge.when_matched_update_all().when_not_matched_insert_all().execute()
    new = reader.poll()
    if configuration:  # exactly these; what else the feed holds are places without a document
        assert (changed, sorted(new)) == (["changed"], ["inserted", "merged"])
        assert {row["error"] for row in reader.rows[10:]} == {None, "no_record"}
        assert all(row["text"] == "" for row in reader.rows if row["error"])
    else:  # the file is written anew, so that what did not change comes as a copy, which the lake drops
        assert set(changed) - set(texts(0, 10)) == {"changed"}
        assert set(new) - set(texts(0, 10)) - {"changed"} == {"inserted", "merged"}
    assert len(set(reader.told)) == 1 and "versions that delete or change rows" in reader.told[0]


def test_an_overwrite_brings_its_new_rows_and_a_restore_what_it_brings_back(path: Path):
    reader = DeltaReader(path)
    reader.poll()
    write_deltalake(str(path), rows(30, 32), mode="overwrite")
    assert reader.poll() == texts(30, 32)
    table_at(path).restore(0)
    assert reader.poll() == texts(0, 10)


def test_a_change_stops_an_ingest_that_is_told_so_behind_the_rows_before_it(path: Path):
    reader = DeltaReader(path, on_delete="stop")
    reader.poll()
    append(path, rows(20, 22))
    table_at(path).update(predicate="id = 5", updates={"text": "'changed'"})
    assert [span.num_records for span in reader.look().spans] == [2]
    with pytest.raises(
        OSError, match=r"version 3 of .* deletes or changes rows \(UPDATE\); set sources.live.on_delete="
    ):
        reader.look()


def test_a_file_that_was_vacuumed_is_a_loss_with_its_rows_counted(path: Path):
    reader = DeltaReader(path)
    reader.look(15)
    table_at(path).optimize.compact()
    append(path, rows(20, 22))
    vacuum(path)
    row_groups.cache_clear()  # as another process has it
    said = r"of version 1 of .* was removed before its 5 rows were read; set sources.live.on_loss=continue to go on"
    with pytest.raises(LossError, match=said):
        reader.look()
    going_on = DeltaReader(path, on_loss="continue")
    going_on.cursor = reader.cursor
    assert going_on.poll() == texts(20, 22)
    (lost,) = [span for span in going_on.spans if span.loss]
    assert (lost.loss, lost.num_records, lost.end - lost.start) == ("vacuumed", 0, 5)
    assert [row["offset"] for row in going_on.rows] == [15, 16]


def test_rows_before_a_loss_are_taken_before_it_stops(path: Path):
    reader = DeltaReader(path)
    reader.poll()
    before = set(path.glob("part-*"))
    append(path, rows(20, 22))
    (kept,) = set(path.glob("part-*")) - before
    append(path, rows(22, 24))
    (gone,) = set(path.glob("part-*")) - before - {kept}
    gone.unlink()
    assert reader.look().drained is False
    assert [row["text"] for row in reader.rows[20:]] == texts(20, 22)
    with pytest.raises(LossError, match=r"of version 3 of .* was removed before its 2 rows were read"):
        reader.look()


def test_a_file_that_goes_between_plan_and_reading_is_a_loss_too(path: Path):
    source = source_of(path)
    spans = source.discover({}, 100).spans
    table_at(path).optimize.compact()
    vacuum(path)
    with pytest.raises(LossError, match="was removed after its rows were planned; restore it"):
        rows_of(source, spans)


def test_a_log_that_was_cleaned_before_it_was_read_is_a_loss_and_the_table_is_read_as_it_is(path: Path):
    reader = DeltaReader(path)
    reader.poll()
    append(path, rows(20, 22))
    table_at(path).optimize.compact()
    append(path, rows(22, 24))
    table_at(path).create_checkpoint()
    for version in range(4):
        (path / "_delta_log" / f"{version:020}.json").unlink()
    reader.restart()
    with pytest.raises(LossError, match=r"does not hold version 2 any more.*dropped as a duplicate"):
        reader.look()
    reader.source = source_of(path, on_loss="continue")
    assert sorted(reader.poll()) == sorted(texts(0, 24))
    assert [span.loss for span in reader.spans if span.loss] == ["trimmed"]
    assert reader.poll() == []


def test_a_log_that_was_cleaned_up_to_where_it_was_read_is_no_loss(path: Path):
    reader = DeltaReader(path)
    reader.poll()
    append(path, rows(20, 22))
    table_at(path).create_checkpoint()
    for version in range(2):
        (path / "_delta_log" / f"{version:020}.json").unlink()
    reader.restart()
    assert reader.poll() == texts(20, 22)


@pytest.mark.parametrize("versions", [1, 2, 5])
def test_a_table_that_was_deleted_and_made_again_is_told_from_the_one_before(path: Path, versions: int):
    reader = DeltaReader(path)
    reader.poll()
    shutil.rmtree(path)
    for number in range(versions):
        append(path, rows(30 + number, 31 + number))
    with pytest.raises(LossError, match="was deleted and made again after version 1 of it was reached"):
        reader.look()
    reader.source = source_of(path, on_loss="continue")
    assert reader.poll() == texts(30, 30 + versions)
    assert [span.loss for span in reader.spans if span.loss] == ["created_again"]


def test_an_older_copy_of_a_table_is_told(path: Path, tmp_path: Path):
    shutil.copytree(path, tmp_path / "copy")
    reader = DeltaReader(path)
    append(path, rows(20, 22))
    reader.poll()
    shutil.rmtree(path)
    shutil.copytree(tmp_path / "copy", path)
    with pytest.raises(LossError, match=r"the log of .* ends before version 2, which was reached"):
        reader.look()


def test_a_table_that_is_copied_elsewhere_and_back_goes_on(path: Path, tmp_path: Path):
    reader = DeltaReader(path)
    reader.poll()
    shutil.copytree(path, tmp_path / "copy", copy_function=shutil.copyfile)  # with other times
    shutil.rmtree(path)
    shutil.copytree(tmp_path / "copy", path, copy_function=shutil.copyfile)
    append(path, rows(20, 22))
    assert reader.poll() == texts(20, 22)


def test_a_table_that_is_replaced_within_its_log_goes_on(path: Path):
    reader = DeltaReader(path)
    reader.poll()
    DeltaTable.create(str(path), table_at(path).schema(), mode="overwrite")
    append(path, rows(20, 22))
    assert reader.poll() == texts(20, 22)
    reader.restart()
    append(path, rows(22, 23))
    assert reader.poll() == texts(22, 23)


def test_columns_of_the_partition_are_times_and_ids(tmp_path: Path):
    days = [dt.date(2026, 11, 1 + n % 2) for n in range(4)]
    table = rows(0, 4, day=days, tag=["a/b z%é", None, "a/b z%é", None])
    append(tmp_path / "t", table, partition_by=["day", "tag"])
    append(tmp_path / "t", table, partition_by=["day", "tag"])
    reader = DeltaReader(tmp_path / "t", time="day", id="tag")
    reader.look(4)  # by the snapshot, then by the log
    append(tmp_path / "t", table, partition_by=["day", "tag"])
    reader.poll()
    expected = {f"text {n}": (days[n], table["tag"][n].as_py()) for n in range(4)}
    assert len(reader.rows) == 12
    assert all((r["event_time"].date(), r["external_id"]) == expected[r["text"]] for r in reader.rows)


@pytest.mark.parametrize(
    ("keys", "sentence"),
    [
        ({"text": "body"}, "it has no column 'body' for text; it has id, text; set text to one of them"),
        ({"text": "texts"}, r"has no column 'texts' for text; it has id, text; did you mean text\?"),
        ({"text": "id"}, "text=id is of type long, which is no text; name a column that holds one"),
    ],
)
def test_a_table_that_cannot_be_read_so_is_refused_before_anything_starts(path: Path, keys: dict, sentence: str):
    with pytest.raises(OSError, match=sentence):
        source_of(path, **keys).discover({}, 10)
    assert sentence.split(" is of")[0].replace("\\", "")[:20] in (source_of(path, **keys).missing() or "")


def test_a_text_that_is_gone_in_a_later_version_stops_in_a_sentence(path: Path):
    reader = DeltaReader(path)
    reader.poll()
    write_deltalake(str(path), pa.table({"body": ["a"]}), mode="overwrite", schema_mode="overwrite")
    with pytest.raises(OSError, match="it has no column 'text' for text; it has body"):
        reader.look()


def test_rows_of_before_a_column_was_added_lack_it(path: Path):
    append(path, rows(20, 21, body=["said"]), schema_mode="merge")
    reader = DeltaReader(path, text="body")
    assert reader.poll() == ["said"]
    assert {row["error"] for row in reader.rows[:20]} == {"missing_text"}


def test_no_table_is_said_and_waited_for(tmp_path: Path):
    assert "holds no Delta table (no _delta_log); check the path, or set sources.live.wait=true" in (
        source_of(tmp_path / "none").missing() or ""
    )
    reader = DeltaReader(tmp_path / "none", wait=True)
    assert reader.source.missing() is None and reader.poll() == []
    assert "there is no Delta table now" in reader.told[0]
    append(tmp_path / "none", rows(0, 2))
    assert reader.poll() == texts(0, 2)


def test_a_file_that_is_no_parquet_is_one_quarantined_place(path: Path):
    spoiled = min(path.glob("part-*"))
    spoiled.write_bytes(b"no parquet")
    reader = DeltaReader(path)
    assert len(reader.poll()) == 10
    assert [row["error"] for row in reader.rows if row["error"]] == ["bad_parquet"]
    assert "is not readable Parquet" in reader.told[0]


def test_rows_of_writers_that_append_at_once_come_once(path: Path):
    def write(first: int) -> None:
        for number in range(5):
            append(path, rows(first + number, first + number + 1))

    threads = [threading.Thread(target=write, args=(first,)) for first in (100, 200, 300)]
    reader = DeltaReader(path)
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        reader.look(3)
    reader.poll()
    there = table_at(path).to_pyarrow_table()["text"].to_pylist()
    assert sorted(row["text"] for row in reader.rows) == sorted(there) and len(there) == 35


@pytest.mark.slow
def test_a_table_in_a_bucket_is_read_the_same(monkeypatch: pytest.MonkeyPatch):
    with moto_bucket() as environment:
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        options = {**environment, "AWS_ALLOW_HTTP": "true", "aws_conditional_put": "etag"}
        append("s3://acme/odd name/t", rows(0, 10), storage_options=options)
        reader = DeltaReader("s3://acme/odd name/t")
        assert reader.poll(4) == texts(0, 10)
        append("s3://acme/odd name/t", rows(10, 12), storage_options=options)
        assert reader.poll() == texts(10, 12)
        unread = DeltaReader("s3://acme/odd name/t")
        unread.look(4)
        table = DeltaTable("s3://acme/odd name/t", storage_options=options)
        table.optimize.compact()
        table.vacuum(retention_hours=0, enforce_retention_duration=False, dry_run=False)
        row_groups.cache_clear()
        with pytest.raises(LossError, match="was removed before its 6 rows were read"):
            unread.look()
