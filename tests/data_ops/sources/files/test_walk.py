"""Does a listing stay in its folder, end, and say what it passes over?"""

import os
import time
import warnings
from pathlib import Path

import pytest

from data_ops.sources.files.config import FilesConfig
from data_ops.sources.files.walk import walk
from data_ops.sources.kinds import open_source
from data_ops.sources.protocol import Untaken
from tests.support.files.reader import Reader, line, put, texts


def test_a_link_out_of_the_folder_is_not_read_and_said(tmp_path: Path):
    secret = put(tmp_path / "secret", b"root:x:0:0")
    put(tmp_path / "in/a.txt", b"mine")
    (tmp_path / "in/p.txt").symlink_to(secret)
    reader = Reader(tmp_path / "in/*.txt")
    assert texts(reader.poll()) == ["mine"] and reader.untaken == [("p.txt", "skipped", "outside_link")]
    assert f"{tmp_path}/in/p.txt leads out of the folder" in reader.warnings[0]


def test_links_inside_the_folder_are_read_as_caches_and_config_maps_make_them(tmp_path: Path):
    put(tmp_path / "cache/blobs/5eed.jsonl", line("blob"))
    (tmp_path / "cache/snapshots/main").mkdir(parents=True)
    (tmp_path / "cache/snapshots/main/a.jsonl").symlink_to("../../blobs/5eed.jsonl")
    assert texts(Reader(tmp_path / "cache/**/a.jsonl").poll()) == ["blob"]
    put(tmp_path / "map/..2026/b.jsonl", line("mapped"))
    (tmp_path / "map/..data").symlink_to("..2026")
    (tmp_path / "map/b.jsonl").symlink_to("..data/b.jsonl")
    reader = Reader(tmp_path / "map/*.jsonl", tmp_path / "map/**/*.jsonl")
    assert texts(reader.poll()) == ["mapped"] and reader.warnings == []
    (tmp_path / "map/c.jsonl").symlink_to("nowhere")
    os.mkfifo(tmp_path / "map/d.jsonl")
    (tmp_path / "map/e.jsonl").symlink_to("e.jsonl")
    assert reader.poll() == [] and len(set(reader.warnings)) == 3 and "leads to nothing" in reader.warnings[0]
    assert set(reader.untaken) == {
        ("c.jsonl", "unreadable", "dead_link"),
        ("d.jsonl", "skipped", "no_file"),
        ("e.jsonl", "unreadable", "dead_link"),
    }
    for name in ("d.jsonl", "e.jsonl"):
        alone = open_source("files", FilesConfig(path=str(tmp_path / "map" / name)))
        assert "matches no file that may be read" in alone.missing()
    assert texts(Reader(tmp_path / "cache/snapshots/main/a.jsonl").poll()) == ["blob"], "the configuration names it"


def test_a_snapshot_of_the_hubs_cache_is_read_and_no_other_folder_beside_it(tmp_path: Path):
    put(tmp_path / "datasets--a--b/blobs/5eed", line("blob"))
    put(tmp_path / "datasets--c--d/blobs/5eed", line("of another repository"))
    snapshot = tmp_path / "datasets--a--b/snapshots/main"
    snapshot.mkdir(parents=True)
    (snapshot / "a.jsonl").symlink_to("../../blobs/5eed")
    (snapshot / "b.jsonl").symlink_to("../../../datasets--c--d/blobs/5eed")
    reader = Reader(snapshot / "*.jsonl")
    assert texts(reader.poll()) == ["blob"] and reader.untaken == [("b.jsonl", "skipped", "outside_link")]


def test_links_to_folders_are_not_followed_so_that_loops_end(tmp_path: Path):
    put(tmp_path / "in/sub/a.jsonl", line("once"))
    for name in ("up", "again", "more"):
        (tmp_path / "in/sub" / name).symlink_to("..")
    reader, began = Reader(tmp_path / "in/**/*.jsonl"), time.monotonic()
    assert texts(reader.poll()) == ["once"] and time.monotonic() - began < 5
    assert {reason for _, _, reason in reader.untaken} == {"folder_link"} and "is not followed" in reader.warnings[0]


def test_a_closed_folder_whose_name_is_no_utf8_can_be_written_down(tmp_path: Path):
    put(tmp_path / "a.jsonl", line("read"))
    folder = Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9"))
    folder.mkdir()

    def wanted(name: str) -> bool:
        if folder.is_dir():  # it becomes a file before it is entered
            folder.rmdir()
            folder.touch()
        return name.endswith(".jsonl")

    passed: list[Untaken] = []
    assert [Path(state.partition).name for state in walk(str(tmp_path), None, wanted, passed)] == ["a.jsonl"]
    assert [(each.partition.encode(), each.reason) for each in passed] == [
        (os.fsencode(tmp_path) + rb"/caf\xe9", "closed_folder")
    ]


def test_a_name_that_is_no_utf8_is_said_where_it_matches_and_fatal_nowhere(tmp_path: Path):
    put(tmp_path / "in/a.jsonl", line("read"))
    for name in (b"caf\xe9.bak", b"caf\xe9.jsonl"):
        Path(os.fsdecode(os.fsencode(tmp_path / "in") + b"/" + name)).write_bytes(line("bad name"))
    reader = Reader(tmp_path / "in/*.jsonl")
    assert texts(reader.poll()) == ["read"] and reader.untaken == [("caf\\xe9.jsonl", "skipped", "unreadable_name")]
    assert len(reader.warnings) == 1 and "caf\\xe9.jsonl is not read, its name is no UTF-8" in reader.warnings[0]


def test_brackets_that_spell_a_folder_are_answered_with_the_pattern_that_means_it(tmp_path: Path):
    put(tmp_path / "news [2024]/a.jsonl", line("a"))
    said = open_source("mine", FilesConfig(path=f"{tmp_path}/news [2024]/*.jsonl")).missing()
    assert said and f"write {tmp_path}/news [[]2024]/*.jsonl" in said
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert texts(Reader(f"{tmp_path}/news [[]2024]/*.jsonl").poll()) == ["a"]


@pytest.mark.parametrize("pattern", ["in/*/b.jsonl", "in/**"])
def test_a_pattern_without_stars_for_folders_goes_no_deeper_than_it_names(tmp_path: Path, pattern: str):
    put(tmp_path / "in/a/b.jsonl", line("b"))
    put(tmp_path / "in/a/c/d/b.jsonl", line("deep"))
    assert ("deep" in texts(Reader(tmp_path / pattern).poll())) == ("**" in pattern)
