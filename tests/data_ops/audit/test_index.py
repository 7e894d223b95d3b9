"""Does `verify --deep` name what is wrong with the known ids of a store, whatever it is?"""

from pathlib import Path

import pytest

from cluster.storage.state import read_json, write_json
from data_ops.audit.index import damage_of_index
from data_ops.index.folder import KNOWN_SKETCHES, IndexFolder, IndexManifest
from data_ops.index.known_ids import KnownIds
from data_ops.index.known_sketches import forget_sketches
from data_ops.index.sorted_writer import write_rows
from data_ops.ingest.seen import Histories
from data_ops.kernels.arrays import ids_to_array
from data_ops.lake.lake import Lake
from tests.data_ops.index.logs import hashes
from tests.data_ops.index.often_kept import AT_ONCE, OftenKeptNear
from tests.support.lakes import add_window, make_documents, make_lake


@pytest.fixture
def lake(tmp_path) -> Lake:
    """Six windows, of which the index has four or more."""
    lake = make_lake(tmp_path / "lake")
    known = KnownIds(IndexFolder(lake.store), lake.mark, AT_ONCE)
    for number in range(6):
        rows = make_documents(number, ["kept"] * 200, 200 * number)
        add_window(lake, rows)
        known.add_new(ids_to_array(rows["id"]))
        known.keep(number)
    return lake


def files(lake: Lake) -> list[Path]:
    return sorted(Path(lake.store.root).rglob("*.ids"))


@pytest.mark.slow
def test_an_index_that_is_whole_or_absent_is_no_damage_also_when_documents_were_forgotten(lake, tmp_path):
    assert damage_of_index(lake, tmp_path) == [] and len(files(lake)) > 1
    lake.forget(ids_to_array(lake.documents(1, 1)["id"].slice(0, 2)))
    assert damage_of_index(lake, tmp_path) == []
    lake.store.delete("index")
    assert damage_of_index(lake, tmp_path) == []


@pytest.mark.slow
def test_every_harm_is_named_with_its_mend(lake, tmp_path):
    file, manifest = files(lake)[0], next(Path(lake.store.root).rglob("manifest*"))
    whole = {path: path.read_bytes() for path in (file, manifest)}
    harms = {
        "is damaged": (file, lambda data: data[:-9] + b"\x55" + data[-8:]),
        "bytes, not": (file, lambda data: data[:-16]),
        "does not begin": (file, lambda data: bytes(64) + data[64:]),
        "its digest is not": (manifest, lambda data: data.replace(b'"window": ', b'"window": 1')),
    }
    for why, (path, harm) in harms.items():
        path.write_bytes(harm(whole[path]))
        (told,) = damage_of_index(lake, tmp_path)
        assert why in told and told.endswith("index/ids, it is built again") and path.name in told
        path.write_bytes(whole[path])
    file.unlink()
    assert (
        "there is no such file" in damage_of_index(lake, tmp_path)[0]
        or "No such file" in damage_of_index(lake, tmp_path)[0]
    )


@pytest.mark.slow
@pytest.mark.parametrize("harm", ["less", "another"])
def test_an_index_that_is_whole_in_itself_and_has_other_ids_than_the_lake_is_named(lake, tmp_path, harm):
    folder = IndexFolder(lake.store)
    path = f"index/ids/manifest-{folder.newest():08d}.json"
    manifest = read_json(lake.store, path, IndexManifest)
    if harm == "less":
        names = manifest.files[1:]
    else:
        strange = hashes(1, [manifest.files[0].num_rows])[0]
        names = (folder.write(lambda file, name: write_rows(strange, file, name)), *manifest.files[1:])
    write_json(lake.store, path, IndexManifest(manifest.window, manifest.mark, names))
    assert "which are not the" in damage_of_index(lake, tmp_path)[0]


@pytest.fixture
def sketched(tmp_path) -> Lake:
    """Three windows, and an index of their sketches."""
    lake = make_lake(tmp_path / "sketched")
    for number in range(3):
        add_window(lake, make_documents(number, ["kept"] * 20, 20 * number))
    Histories(lake, {"near_duplicate": OftenKeptNear()}).advance(2)
    return lake


@pytest.mark.slow
def test_an_index_of_sketches_that_follows_from_the_texts_is_no_damage_also_when_one_was_forgotten(sketched, tmp_path):
    assert damage_of_index(sketched, tmp_path) == [] and sketched.store.list(KNOWN_SKETCHES)
    sketched.forget(ids_to_array(sketched.documents(1, 1)["id"].slice(0, 2)))
    (told,) = damage_of_index(sketched, tmp_path)
    assert "holds 840 bands, which are not the 812 of the lake up to window 2" in told
    assert told.endswith("index/near, it is built again")
    forget_sketches(IndexFolder(sketched.store, KNOWN_SKETCHES), sketched)
    assert damage_of_index(sketched, tmp_path) == []


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["bands", "sketches"])
def test_a_changed_byte_of_an_index_of_sketches_is_named(sketched, tmp_path, kind):
    file = next(Path(sketched.store.root).rglob(f"*.{kind}"))
    file.write_bytes(file.read_bytes()[:-9] + b"\x55" + file.read_bytes()[-8:])
    (told,) = damage_of_index(sketched, tmp_path)
    assert "is damaged" in told and file.name in told
