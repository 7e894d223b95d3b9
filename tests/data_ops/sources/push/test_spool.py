"""Is what was appended to a spool there once, whatever a crash or a disk leaves behind?"""

import os
from pathlib import Path

import pytest

from data_ops.sources.files.config import FilesConfig
from data_ops.sources.kinds import open_source
from data_ops.sources.push import spool as spools
from data_ops.sources.push.spool import Spool, SpoolBusyError, read_lines_back


def read(folder: Path, cursor: dict | None = None) -> tuple[list[dict], dict]:
    """What the source of files reads of a spool behind a cursor, and the cursor behind that."""
    found = open_source("pushed", FilesConfig(path=f"{folder}/*.jsonl", id="id", settle=0)).discover(
        cursor or {}, 10**6
    )
    source = open_source("pushed", FilesConfig(path=f"{folder}/*.jsonl", id="id", settle=0))
    rows = [row for span in found.spans for batch in source.read(span) for row in batch.to_pylist()]
    return rows, found.cursor


def test_lines_are_read_as_documents_in_their_order_over_segments(tmp_path: Path):
    spool = Spool(tmp_path / "in", segment_bytes=100)
    for n in range(20):
        spool.append([b'{"text": "a%d", "id": "%d"}' % (n, n), b'{"text": "b%d"}' % n])
    spool.close()
    assert len(spool.segments()) > 3
    rows, _ = read(tmp_path / "in")
    assert [row["text"] for row in rows] == [f"{kind}{n}" for n in range(20) for kind in "ab"]
    assert sorted(read_lines_back(spool.segments()))[0] == b'{"text": "a0", "id": "0"}\n'


@pytest.mark.parametrize("torn", [b"", b'{"text": "ha', b'{"text": "whole"}', b'{"text": "whole"}\n{"te'])
def test_half_a_line_of_a_crash_is_ended_and_no_byte_that_was_seen_changes(tmp_path: Path, torn: bytes):
    spool = Spool(tmp_path)
    spool.append([b'{"text": "first"}'])
    spool.close()
    (segment,) = spool.segments()
    with segment.open("ab") as file:
        file.write(torn)
    before = segment.read_bytes()
    seen, cursor = read(tmp_path)
    again = Spool(tmp_path)
    assert segment.read_bytes() == before + b"\n" * (not before.endswith(b"\n"))
    again.append([b'{"text": "second"}'])
    again.close()
    later, _ = read(tmp_path, cursor)
    texts = [row["text"] for row in seen + later if row["error"] is None and row["text"]]
    assert texts == ["first"] + ["whole"] * (b"whole" in torn) + ["second"]
    assert [row["error"] for row in seen + later if row["error"]] == ["bad_json"] * (torn[-1:] not in (b"", b"}"))


def test_a_folder_has_one_writer(tmp_path: Path):
    spool = Spool(tmp_path)
    with pytest.raises(SpoolBusyError, match="another listener writes into"):
        Spool(tmp_path)
    spool.close()
    Spool(tmp_path).close()


def test_a_disk_that_takes_only_parts_gets_all_of_them_and_one_that_fails_gets_a_new_segment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    write = os.write
    monkeypatch.setattr(spools.os, "write", lambda file, data: write(file, data[:7]))
    spool = Spool(tmp_path)
    spool.append([b'{"text": "in small parts"}'])
    failing = spool.segments()[-1]

    def fail(file: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as full:
        full.setattr(spools.os, "fdatasync", fail)
        with pytest.raises(OSError, match="No space left"):
            spool.append([b'{"text": "nobody was told"}'])
    spool.append([b'{"text": "after"}'])
    spool.close()
    assert spool.segments()[-1] != failing
    assert [row["text"] for row in read(tmp_path)[0]] == ["in small parts", "nobody was told", "after"]
