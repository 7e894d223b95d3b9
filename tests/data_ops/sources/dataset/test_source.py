"""Does each row of a saved dataset come once, as what it is, and is another dataset in its place told?"""

import datetime as dt
import json
import os
import time
from contextlib import suppress
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_ops.sources.dataset.config import DatasetConfig
from data_ops.sources.dataset.frames import BATCH, BadArrowError, frames
from data_ops.sources.dataset.source import DatasetSource
from data_ops.sources.protocol import ChangedError, Discovery, LossError
from ray_jobs.config.reading import read_config
from ray_jobs.outcome import ConfigError
from tests.data_ops.sources.dataset.saving import DatasetReader, rows, save, source_of, texts

GIVEN = ("sources.live.kind=dataset", "sources.live.path=sets/wiki")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A dataset of two files with 20 rows."""
    save(tmp_path / "wiki", rows(0, 10), rows(10, 20))
    return tmp_path / "wiki"


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ("path=sets/wiki/state.json", "is a file of a dataset; write the folder that holds it"),
        ("path=abfss://sets", "is no store; use a local path"),
        ("split=a/b", "split=a/b is no name of a split; write for example train"),
        ("split=..", "is no name of a split"),
        ("spilt=train", "did you mean sources.live.split?"),
    ],
)
def test_a_mistake_is_a_sentence(given: str, sentence: str):
    with pytest.raises(ConfigError) as caught:
        read_config([], [*GIVEN, f"sources.live.{given}"])
    assert sentence in str(caught.value)


@pytest.mark.parametrize("most", [1, 3, 7, 100])
def test_rows_come_once_in_the_order_of_the_files_in_windows_of_any_size(path: Path, most: int):
    reader = DatasetReader(path)
    assert reader.poll(most) == texts(0, 20) and reader.poll() == []
    assert [(row["offset"], row["external_id"]) for row in reader.rows] == [(n, str(n)) for n in range(20)]


def test_typed_times_nested_texts_and_ids_of_any_type_are_read(tmp_path: Path):
    moments = [dt.datetime(2026, 11, day, tzinfo=dt.UTC) for day in (1, 2, 3)]
    table = rows(
        0,
        3,
        at=pa.array(moments, pa.timestamp("ns", "UTC")),
        meta=[{"body": f"nested {n}", "key": bytes([n]) * 16} for n in range(3)],
        kind=pa.array(["a", "b", "a"]).dictionary_encode(),
    )
    save(tmp_path / "d", table, table, batch_rows=2)
    reader = DatasetReader(tmp_path / "d", text="meta.body", time="at", id="kind")
    assert reader.poll(2) == [f"nested {n}" for n in (0, 1, 2)] * 2
    assert [(row["event_time"], row["external_id"]) for row in reader.rows] == list(
        zip(moments, "aba", strict=True)
    ) * 2
    reader = DatasetReader(tmp_path / "d", text="meta.body", id="meta.key")
    reader.poll()
    assert reader.rows[1]["external_id"] == "01010101-0101-0101-0101-010101010101"


def test_conversations_are_read_as_from_any_table(tmp_path: Path):
    talk = [
        [{"role": "user", "content": "Why?"}, {"role": "assistant", "content": f"Because of {n}."}] for n in range(3)
    ]
    save(tmp_path / "d", pa.table({"messages": talk}))
    reader = DatasetReader(tmp_path / "d", id=None, objective="instruct")
    assert reader.poll() == [row["text"] for row in reader.rows]
    assert len(reader.rows) == 3 and all("Because of" in row["text"] for row in reader.rows)


def test_of_a_folder_of_splits_one_is_read(tmp_path: Path):
    save(tmp_path / "d" / "train", rows(0, 3))
    save(tmp_path / "d" / "test", rows(3, 5))
    (tmp_path / "d" / "dataset_dict.json").write_text(json.dumps({"splits": ["train", "test"]}))
    assert DatasetReader(tmp_path / "d", split="test").poll() == texts(3, 5)
    assert "the folder holds the splits train, test; name one by split" in (source_of(tmp_path / "d").missing() or "")
    said = source_of(tmp_path / "d", split="dev").missing() or ""
    assert "the folder has no split dev; it has train, test" in said
    said = source_of(tmp_path / "d" / "train", split="train").missing() or ""
    assert "split=train is of a folder of splits, and this is one dataset; leave it out" in said


def test_a_dataset_that_is_not_there_is_said_and_waited_for(tmp_path: Path):
    assert "holds no saved dataset (no state.json, nor dataset_dict.json)" in (
        source_of(tmp_path / "d").missing() or ""
    )
    reader = DatasetReader(tmp_path / "d", wait=True)
    assert reader.source.missing() is None and reader.poll() == []
    save(tmp_path / "d", rows(0, 2))
    assert reader.poll() == texts(0, 2)


def test_a_text_that_is_no_column_is_told_before_anything_starts_and_at_the_next_dataset(path: Path):
    said = source_of(path, text="txet").missing() or ""
    assert "it has no column 'txet' for text; it has id, text; did you mean text?" in said
    reader = DatasetReader(path)
    reader.poll()
    save(path, pa.table({"body": ["a"]}), fingerprint="b")
    with pytest.raises(OSError, match="it has no column 'text' for text; it has body; set text to one of them"):
        reader.look()


def test_another_dataset_is_told_and_read_from_its_beginning(path: Path):
    reader = DatasetReader(path)
    reader.poll()
    save(path, rows(0, 15), rows(15, 25), fingerprint="grown")
    assert reader.poll() == texts(0, 25)
    (told,) = reader.told
    assert told.startswith(f"sources.live: {path} holds another dataset than before (fingerprint grown-")
    assert told.endswith("it is read from its beginning, and what was read before is dropped as a duplicate")
    assert [row["offset"] for row in reader.rows] == list(range(45))


def test_the_same_rows_in_other_files_are_read_anew_though_their_fingerprint_is_the_same(path: Path):
    reader = DatasetReader(path)
    reader.poll()
    save(path, rows(0, 7), rows(7, 14), rows(14, 20))
    assert reader.poll() == texts(0, 20) and "holds another dataset than before" in reader.told[0]


@pytest.mark.parametrize("clock_of_files", [-86_400, 0, 86_400])
def test_a_dataset_that_changes_is_waited_for_until_it_stands_still_whatever_the_clock_of_its_files_says(
    path: Path, clock_of_files: int
):
    now, told = [0.0], "the dataset is being saved; it is waited for"
    source = DatasetSource("live", DatasetConfig(path=str(path)), lambda: now[0])

    def look() -> Discovery:
        for place, age in (("state.json", 90), ("data-00000-of-00002.arrow", 2), ("data-00001-of-00002.arrow", 1)):
            os.utime(path / place, (time.time() + clock_of_files - age,) * 2)
        return source.discover({}, 5)

    first = look()
    assert (first.spans, first.drained, first.warnings) == ([], False, [f"{source._named}: {told}"])
    assert [(each.state, each.reason) for each in first.untaken] == [("waiting", "being_saved")]
    now[0] = 9.0
    (path / "data-00001-of-00002.arrow").write_bytes((path / "data-00000-of-00002.arrow").read_bytes())
    assert look().spans == []
    now[0] = 18.5
    assert look().spans == [], "it changed half a moment ago"
    now[0] = 19.0
    found = look()
    assert sum(span.num_records for span in found.spans) == 5 and not found.warnings
    now[0] = 20.0
    again = source.discover(found.cursor, 5)
    assert sum(span.num_records for span in again.spans) == 5, "what is known to be whole is not waited for again"


def test_a_copy_whose_files_come_behind_its_state_is_waited_for_and_read_once_it_is_there(path: Path):
    late = path / "data-00001-of-00002.arrow"
    held = late.read_bytes()
    late.unlink()
    source = source_of(path)
    assert "is named by state.json and not there" in str(source.missing())
    found = source.discover({}, 100)
    assert found.spans == [] and found.drained and [each.reason for each in found.untaken] == ["being_saved"]
    assert "data-00001-of-00002.arrow is named by state.json and not there" in found.warnings[0]
    late.write_bytes(held)
    (path / "state.json").touch()
    assert DatasetReader(path).poll() == texts(0, 20)


def test_a_dataset_that_goes_before_it_was_read_is_a_loss_with_its_rows_counted(path: Path):
    reader = DatasetReader(path)
    reader.look(13)
    planned = reader.source.discover(reader.cursor, 5).spans
    save(path, rows(30, 32), fingerprint="other")
    with pytest.raises(
        LossError, match=r"and 7 rows of that one were not read; put it back, or set sources.live.on_loss="
    ):
        reader.look()
    with pytest.raises(LossError, match="has gone since its rows were planned"):
        list(reader.source.read(planned[0]))
    reader.source = source_of(path, on_loss="continue")
    with pytest.raises(ChangedError):
        list(reader.source.read(planned[0]))
    assert reader.poll() == texts(30, 32)
    (lost,) = [span for span in reader.spans if span.loss]
    assert (lost.loss, lost.num_records, lost.end - lost.start) == ("replaced", 0, 7)
    assert [row["offset"] for row in reader.rows] == list(range(15))


@pytest.mark.parametrize("cut", [1, 300, 700])
def test_a_file_that_is_cut_gives_its_whole_batches_and_one_quarantined_place(path: Path, cut: int):
    file = path / "data-00000-of-00002.arrow"
    file.write_bytes(file.read_bytes()[:-cut])
    (path / "state.json").touch()
    whole = [frame for frame in _frames_of(file) if frame.kind == BATCH]
    reader = DatasetReader(path)
    kept = sum(frame.num_rows for frame in whole)
    assert reader.poll(3) == [*texts(0, kept), *texts(10, 20)]
    assert [row["error"] for row in reader.rows if row["error"]] == ["bad_arrow"]
    assert "no message of Arrow begins" in reader.told[0] or "claims" in reader.told[0]


def _frames_of(file: Path):
    found = []
    with pa.OSFile(str(file)) as opened, suppress(BadArrowError):
        found.extend(frames(opened))
    return found


def test_a_batch_whose_columns_make_no_sense_costs_its_own_rows(path: Path):
    file = path / "data-00000-of-00002.arrow"
    first = next(frame for frame in _frames_of(file) if frame.kind == BATCH)
    data = bytearray(file.read_bytes())
    text = data.index(b"text 0text 1", first.start, first.end)
    data[text : text + 4] = b"\xff\xff\xff\xff"
    file.write_bytes(data)
    (path / "state.json").touch()
    reader = DatasetReader(path)
    assert reader.poll() == texts(4, 20)
    assert [row["error"] for row in reader.rows[:4]] == ["bad_arrow"] * 4


def test_a_file_that_is_no_arrow_or_not_there_is_told(path: Path):
    (path / "data-00001-of-00002.arrow").write_bytes(b"PAR1 and no Arrow" * 9)
    (path / "state.json").touch()
    reader = DatasetReader(path)
    assert reader.poll() == texts(0, 10) and [row["error"] for row in reader.rows[10:]] == ["bad_arrow"]
    (path / "data-00001-of-00002.arrow").unlink()
    save(path, rows(0, 1), fingerprint="b")
    (path / "data-00000-of-00001.arrow").unlink()
    assert "is named by state.json and not there; save the dataset again" in str(source_of(path).missing())


def test_a_state_that_leads_out_of_the_folder_or_makes_no_sense_is_refused(path: Path):
    state = {"_data_files": [{"filename": "../secret.arrow"}], "_fingerprint": "a"}
    (path / "state.json").write_text(json.dumps(state))
    with pytest.raises(ValueError, match="is no path inside a store"):
        source_of(path).discover({}, 5)
    (path / "state.json").write_text("{")
    assert "state.json makes no sense" in (source_of(path).missing() or "")


@settings(max_examples=60, deadline=None)
@given(
    sizes=st.lists(st.integers(0, 9), max_size=6),
    nulls=st.booleans(),
    spoiled=st.none() | st.tuples(st.integers(0, 10**6), st.integers(0, 255)),
)
def test_frames_are_the_batches_that_arrow_reads_and_no_spoiled_byte_does_more_than_raise(
    tmp_path_factory: pytest.TempPathFactory, sizes: list[int], nulls: bool, spoiled: tuple[int, int] | None
):
    schema = pa.schema([("text", pa.string()), ("kind", pa.dictionary(pa.int32(), pa.string()))])
    batches = [
        pa.record_batch([[None if nulls else "x" * n] * n, pa.array(["k"] * n).dictionary_encode()], schema=schema)
        for n in sizes
    ]
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, schema) as writer:
        for batch in batches:
            writer.write_batch(batch)
    data = bytearray(sink.getvalue().to_pybytes())
    if spoiled:
        data[spoiled[0] % len(data)] = spoiled[1]
    file = pa.PythonFile(pa.BufferReader(bytes(data)), mode="r")
    if spoiled is None:
        assert [frame.num_rows for frame in frames(file) if frame.kind == BATCH] == sizes
        return
    with suppress(BadArrowError):
        assert all(0 <= frame.start < frame.end <= len(data) for frame in frames(file))


def test_what_the_datasets_package_saves_is_read(tmp_path: Path):
    datasets = pytest.importorskip("datasets")
    datasets.Dataset.from_dict({"id": [*range(2500)], "text": texts(0, 2500)}).save_to_disk(
        tmp_path / "d", num_shards=3
    )
    assert DatasetReader(tmp_path / "d").poll(700) == texts(0, 2500)
