"""Is what was appended to a spool there once, whatever a crash or a disk leaves behind?"""

import resource
from pathlib import Path

import pytest

from data_ops.sources.files.config import FilesConfig
from data_ops.sources.kinds import open_source
from data_ops.sources.push.spool import Spool, read_lines_back


def read(folder: Path, cursor: dict | None = None) -> tuple[list[dict], dict]:
    """What the source of files reads of a spool behind a cursor, and the cursor behind that."""
    source = open_source("pushed", FilesConfig(path=f"{folder}/*.jsonl", id="id", settle=0))
    found = source.discover(cursor or {}, 10**6)
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
    with pytest.raises(BlockingIOError):
        Spool(tmp_path)
    spool.close()
    Spool(tmp_path).close()


def test_a_disk_that_takes_only_a_part_is_told_and_what_comes_later_goes_into_a_new_segment(tmp_path: Path):
    """A limit of the kernel cuts a write as a full disk does: a part is taken, then there is an error."""
    spool = Spool(tmp_path)
    spool.append([b'{"text": "before"}'])
    failing, limits = spool.segments()[-1], resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (40, limits[1]))
    try:
        with pytest.raises(OSError, match="File too large"):
            spool.append([b'{"text": "nobody was told"}', b'{"text": "of these"}'])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert failing.stat().st_size == 40
    spool.append([b'{"text": "after"}'])
    spool.close()
    assert spool.segments()[-1] != failing
    Spool(tmp_path).close()
    assert [row["text"] for row in read(tmp_path)[0] if row["error"] is None] == ["before", "after"]
