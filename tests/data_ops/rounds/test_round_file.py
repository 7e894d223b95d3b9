"""Does a round's file give back exactly its round, or nothing at all?"""

import numpy as np
import pytest

from data_ops.documents.place import Documents, Place
from data_ops.lake import log
from data_ops.lake.lake import Lake
from data_ops.lake.log import RoundText, text_of
from data_ops.rounds import round_file
from data_ops.rounds.manifest import Manifest
from tests.cluster.storage.test_store import s3, s3_settings, store  # noqa: F401
from tests.support.lakes import fill_lake, make_lake

RUN = "news"


def made_round(number, num_fresh=5, num_replay=3):
    """A manifest and a text that fit together."""
    r = np.random.default_rng(number)

    def documents(n):
        ids = r.integers(0, 2**64, (n, 2), dtype=np.uint64)
        return Documents(ids, np.sort(r.integers(0, 4, n)), np.arange(n), r.integers(0, 9, n))

    fresh, replay = documents(num_fresh), documents(num_replay)
    manifest = Manifest(number, Place(0, 3), Place(4, 7), 5, 2, 4, 16, "tokens", fresh, replay, documents(2), "sample")
    offsets = np.concatenate([[0], np.cumsum(manifest.documents.num_tokens)])
    tokens = r.integers(0, 2**31 - 1, offsets[-1]).astype(np.int32)
    blank = r.random(num_fresh + num_replay) < 0.3
    times, labels = r.uniform(1e9, 2e9, (2, num_fresh)), np.array(["wire", "help"])[r.integers(0, 2, num_fresh)]
    return manifest, RoundText(tokens, offsets, times[0], blank, times[1], labels)


def recorded(lake, number, **sizes):
    """A round that is in the lake and has a file."""
    manifest, text = made_round(number, **sizes)
    assert lake.add_round(RUN, number, manifest.to_row())
    file = round_file.round_file(lake.store, RUN, number)
    file.write(manifest, text)
    return file, manifest, text


def assert_same(found, manifest, text):
    assert found is not None
    assert str(found[0].to_row()) == str(manifest.to_row())
    for got, wanted in zip(found[1], text, strict=True):
        assert got.dtype.kind == wanted.dtype.kind
        np.testing.assert_array_equal(got, wanted)


@pytest.mark.parametrize("sizes", [{}, {"num_fresh": 0}, {"num_replay": 0}, {"num_fresh": 700}], ids=str)
def test_a_round_comes_back_as_it_was_written(tmp_path, sizes):
    assert_same((file := recorded(make_lake(tmp_path), 0, **sizes))[0].read(), *file[1:])


@pytest.mark.slow
def test_files_work_in_folders_and_buckets(store):  # noqa: F811
    lake = Lake(store)
    lake.create()
    file, manifest, text = recorded(lake, 0)
    assert_same(file.read(), manifest, text)
    assert round_file.collect(store, RUN, 1, 9, ()) == [file.path]
    assert file.read() is None


def test_a_missing_file_is_no_reason_for_a_warning(tmp_path, caplog):
    assert round_file.round_file(make_lake(tmp_path).store, RUN, 0).read() is None
    assert caplog.records == []


@pytest.mark.slow
def test_any_flipped_bit_and_any_torn_end_is_noticed_with_one_warning(tmp_path, caplog):
    file, manifest, text = recorded(make_lake(tmp_path), 0)
    whole = file.store.read(file.path)
    r = np.random.default_rng(0)
    for at in [*range(round_file.HEADER_BYTES + 9), *r.integers(0, len(whole), 100).tolist(), len(whole) - 1]:
        damaged = bytearray(whole)
        damaged[at] ^= 1 << int(r.integers(8))
        file.store.write(file.path, bytes(damaged))
        caplog.clear()
        assert file.read() is None, f"byte {at}"
        assert [record.levelname for record in caplog.records] == ["WARNING"]
    for size in [0, 1, 16, 31, 63, 64, 65, *r.integers(66, len(whole), 40).tolist(), len(whole) - 1]:
        file.store.write(file.path, whole[:size])
        assert file.read() is None, f"{size} bytes"
    file.store.write(file.path, whole)
    assert_same(file.read(), manifest, text)


def test_a_file_of_another_manifest_is_not_used(tmp_path, caplog):
    mine, other = make_lake(tmp_path / "a"), make_lake(tmp_path / "b")
    file, manifest, text = recorded(mine, 0)
    theirs, *_ = recorded(other, 0, num_fresh=6)
    mine.store.write(file.path, other.store.read(theirs.path))  # as if the lake had been made anew below it
    assert file.read() is None
    assert "not made from the manifest" in caplog.text
    second, manifest, text = recorded(mine, 1)
    mine.store.write(file.path, mine.store.read(second.path))  # a whole file, in another round's place
    assert file.read() is None
    assert_same(second.read(), manifest, text)


def test_a_file_outlives_the_log_entry_it_was_made_from(tmp_path, caplog):
    mine, other = make_lake(tmp_path / "a"), make_lake(tmp_path / "b")
    file, manifest, text = recorded(mine, 0)
    theirs, *_ = recorded(other, 0, num_fresh=6)
    table = mine.table("rounds")
    table.alter.set_table_properties({"delta.logRetentionDuration": "interval 0 seconds"})
    table.create_checkpoint()
    table.cleanup_metadata()
    assert file._log_entry(1) is None
    assert_same(file.read(), manifest, text)
    assert caplog.records == []
    mine.store.write(file.path, other.store.read(theirs.path))
    assert file.read() is None
    assert "not made from the manifest" in caplog.text


def test_a_manifest_that_is_not_in_the_lake_gets_no_file(tmp_path):
    lake = make_lake(tmp_path)
    file = round_file.round_file(lake.store, RUN, 0)
    file.write(*made_round(0))
    assert not lake.store.exists(file.path)
    lake.add_round("another", 0, made_round(0)[0].to_row())
    file.write(*made_round(0))
    assert not lake.store.exists(file.path)


@pytest.mark.slow
def test_only_files_that_no_kept_checkpoint_needs_are_deleted(tmp_path):
    lake = make_lake(tmp_path)
    for number in range(6):
        recorded(lake, number)
    for step in (4, 8):
        branch, planned = f"{RUN}@{step}", made_round(0)
        lake.add_round(branch, 0, planned[0].to_row())
        round_file.branch_file(lake.store, RUN, step, branch).write(*planned)
    lake.store.write("runs/news/rounds/notes.txt", b"not ours")
    gone = round_file.collect(lake.store, RUN, newest_round=4, newest_step=8, kept={1, 4})
    assert [path.rpartition("/")[2] for path in gone] == [
        "00000000.arrow",
        "00000002.arrow",
        "00000003.arrow",
        "branch-00000004.arrow",
    ]
    assert round_file.branch_file(lake.store, RUN, 8, f"{RUN}@8").read() is not None


@pytest.mark.slow
@pytest.mark.parametrize("num_held", [0, 7, 40])
@pytest.mark.parametrize("at_once", [1, 2, 16])
def test_the_text_of_a_round_is_the_same_from_shards_and_from_any_number_of_windows(
    tmp_path, monkeypatch, num_held, at_once
):
    monkeypatch.setattr(log, "WINDOWS_AT_ONCE", at_once)
    lake = make_lake(tmp_path)
    fill_lake(lake, [["kept", "dropped", *["kept"] * 11]] * 5)
    documents = Documents.from_table(lake.documents(0, 4, ["id", "window", "position", "num_tokens"], ["kept"]))
    texts = lake.documents(0, 4, ["id", "tokens"], ["kept"])
    new = documents.windows == 4
    fresh, replay = documents.take(new), documents.take(np.flatnonzero(~new)[::-1])
    held = documents.ids[:num_held], texts["tokens"].combine_chunks().slice(0, num_held)
    text = text_of(lake, fresh, replay, [held])
    wanted = texts["tokens"].to_pylist()
    wanted = [wanted[n] for n in [*np.flatnonzero(new), *np.flatnonzero(~new)[::-1]]]
    got = [text.tokens[a:b].tolist() for a, b in zip(text.offsets[:-1], text.offsets[1:], strict=True)]
    assert got == wanted
    assert set(text.sources.tolist()) == {"mine"}
    own = lake.documents(4, 4, ["event_time"], ["kept"])["event_time"].to_pylist()
    assert text.event_s.tolist() == [moment.timestamp() for moment in own]
    assert set(text.arrived_s.tolist()) == {lake.arrivals(4, 4)[4]} and len(text.arrived_s) == len(fresh)
