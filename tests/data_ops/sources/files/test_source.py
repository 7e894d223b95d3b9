"""Is every record of growing, torn, hostile files found exactly once, and named when it cannot be read?"""

import codecs
import errno
import gzip
import itertools
import json
import os
import re
import tempfile
import tracemalloc
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace

import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from data_ops.documents.reasons import QUARANTINE
from data_ops.sources.files import looking as looking_module
from data_ops.sources.files import source as files_module
from data_ops.sources.files.formats import parquet_file
from data_ops.sources.files.formats.content import BINARY, codec_of, encoding_of
from data_ops.sources.files.formats.parquet import count_rows
from data_ops.sources.files.listing import FileState, read_at
from data_ops.sources.files.source import FilesSource
from data_ops.sources.kinds import FilesConfig, open_source
from tests.support.files.reader import OLD, Reader, grow, line, put, rows_of, texts

# growth


def test_appended_lines_and_new_files_are_found_and_nothing_twice(tmp_path: Path):
    a = put(tmp_path / "a.jsonl", line("1") + line("2"))
    reader = Reader(tmp_path / "*.jsonl")
    assert texts(reader.poll()) == ["1", "2"] and reader.poll() == []
    grow(a, line("3"))
    put(tmp_path / "b.jsonl", line("4"))
    assert texts(reader.poll()) == ["3", "4"]
    assert [row["offset"] for row in reader.rows] == [0, 1, 2, 0]
    os.utime(a)  # touched, not changed
    assert reader.poll() == [] and reader.warnings == []


@pytest.mark.slow
@given(st.data())
@settings(max_examples=40)
def test_any_growth_and_any_windows_deliver_each_line_once_in_order(tmp_path_factory: pytest.TempPathFactory, data):
    folder = tmp_path_factory.mktemp("grow")
    reader = Reader(folder / "*.jsonl", settle=3600)
    written: dict[str, bytes] = {}
    now = datetime.now(UTC).timestamp()
    for step in range(data.draw(st.integers(1, 6))):
        name = data.draw(st.sampled_from("abc"))
        old = written.get(name, b"")
        more = b"".join(
            line(f"{name}{step}.{i}" * data.draw(st.integers(1, 3))) for i in range(data.draw(st.integers(0, 4)))
        )
        written[name] = old + more
        half = data.draw(st.sampled_from([b"", b'{"text": "ha']))
        put(folder / f"{name}.jsonl", written[name] + half, now - 60 + step)
        reader.poll(data.draw(st.integers(1, 5)))
    for name, content in written.items():
        put(folder / f"{name}.jsonl", content, now)
    rows = reader.all(3)
    assert reader.warnings == []
    expected = sorted(json.loads(one)["text"] for content in written.values() for one in content.splitlines())
    assert sorted(texts(rows)) == expected


def test_a_poll_opens_only_files_that_changed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    for i in range(5):
        put(tmp_path / f"{i}.jsonl", line(str(i)))
    reader = Reader(tmp_path / "*.jsonl")
    reader.poll()
    looked: list[str] = []
    look = looking_module.look_at
    monkeypatch.setattr(
        looking_module, "look_at", lambda kind, file, *rest: (looked.append(file.partition), look(kind, file, *rest))[1]
    )
    grow(tmp_path / "3.jsonl", line("new"))
    assert texts(reader.poll()) == ["new"] and [Path(p).name for p in looked] == ["3.jsonl"]


def test_big_files_are_cut_into_spans_for_several_workers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("data_ops.sources.files.formats.streams.BLOCK_BYTES", 1000)
    monkeypatch.setattr("data_ops.sources.files.line_files.PIECE_BYTES", 3000)
    path = put(tmp_path / "a.jsonl", b"".join(line(str(i) * 9) for i in range(500)))
    source = open_source("files", FilesConfig(path=str(path), settle=0))
    spans = source.discover({}, 10**6).spans
    assert len(spans) > 3 and spans[0].start == 0 and spans[-1].end == path.stat().st_size
    assert all(
        a.end == b.start and a.first_record + a.num_records == b.first_record for a, b in itertools.pairwise(spans)
    )
    assert [row["text"] for span in spans for row in rows_of(source, span)] == [str(i) * 9 for i in range(500)]


# compressed

PACK = {".gz": gzip.compress, ".zst": zstandard.compress}
suffixes = pytest.mark.parametrize("suffix", PACK)


@suffixes
@pytest.mark.parametrize("max_records", [1, 7, 1000])
def test_compressed_lines_are_the_lines_in_any_windows(tmp_path: Path, suffix: str, max_records: int):
    content = [line(str(i) * 50) for i in range(40)]
    members = PACK[suffix](b"".join(content[:25])) + PACK[suffix](b"".join(content[25:]))  # as `cat` makes them
    path = put(tmp_path / f"a.jsonl{suffix}", members)
    assert texts(Reader(path).all(max_records)) == [str(i) * 50 for i in range(40)]
    reader = Reader(path)
    reader.poll()
    grow(path, PACK[suffix](line("appended")))
    assert texts(reader.poll()) == ["appended"] and reader.warnings == []


# what stands in a line

BAD_LINES = {
    "bad_json": [b'{"text": "a"', b"plain text", b'{"text": NaN}'],
    "not_an_object": [b"[1]", b'"text"', b"null", b"7"],
    "bad_utf8": [b'{"text": "\xff\xfe"}', b'{"text": "\\ud800"}', b'{"text": "\\udc00x"}', b'{"text": "\xed\xa0\x80"}'],
    "missing_text": [b'{"body": "a"}', b'{"text": null}'],
    "wrong_type": [b'{"text": 7}', b'{"text": ["a"]}', b'{"text": {}}'],
    "oversized": [b'{"text": "' + b"a" * 5000 + b'"}'],
    "nul_bytes": [b"\0" * 50, b'{"text": "a"}\0'],
    "too_deep": [b'{"text": ' + b"[" * 1500 + b"]" * 1500 + b"}"],
}


@pytest.mark.parametrize("reason", BAD_LINES)
def test_a_bad_line_quarantines_only_itself_and_says_why(tmp_path: Path, reason: str):
    for bad in BAD_LINES[reason]:
        path = put(tmp_path / "a.jsonl", line("before") + bad + b"\n" + line("after"))
        rows = Reader(path, max_record_bytes=4096).poll()
        assert [row["error"] for row in rows] == [None, reason, None], bad
        assert len(rows[1]["text"]) <= 200 and rows[1]["text"].isprintable()
        assert rows[1]["num_bytes_read"] == len(bad) + 1


NOT_AS_PLANNED = {"changed_before_read", "unreadable", "source_removed"}  # of a span; tests/data_ops/ingest
#: Reasons whose tests are in the other files of this folder.
ELSEWHERE = {f"torn_{codec}" for codec in ("gzip", "zstd", "bzip2", "xz")}
ELSEWHERE |= {
    "bad_parquet",
    "over_limit",
    "bad_row",
    "duplicate_column",
    "kills_reader",
    "bad_arrow",
    "bad_notification",
}
#: Of conversations; tests/data_ops/ingest/test_conversations.py and tests/data_ops/conversations.
ELSEWHERE |= {"missing_messages", "bad_message", "unknown_role", "no_answer", "special_token", "template_refuses"}
ELSEWHERE |= {"unclear_answer", "turns_changed", "long_conversation"}
ELSEWHERE |= {"no_schema_id", "unknown_schema", "bad_avro", "bad_protobuf"}  # of values of a registry


def test_every_quarantine_reason_has_a_meaning_and_a_test():
    assert set(BAD_LINES) | ELSEWHERE | NOT_AS_PLANNED == set(QUARANTINE)


def is_object(line: bytes) -> bool:
    try:
        return isinstance(orjson.loads(line), dict)
    except ValueError:
        return False


@pytest.mark.slow
@given(st.lists(st.binary(max_size=30), max_size=8))
@example([b'{"":""}'])
@settings(max_examples=200)
def test_no_bytes_are_fatal_and_every_line_is_one_record(tmp_path_factory: pytest.TempPathFactory, pieces: list[bytes]):
    content = b"\n".join(pieces)
    assume(codec_of("a.jsonl", content) is None and encoding_of(content) == "utf-8" and content[:4] != b"PAR1")
    assume(not content.startswith(tuple(BINARY)))
    path = put(tmp_path_factory.mktemp("fuzz") / "a.jsonl", content)
    rows = Reader(path).poll()
    whole = is_object(content.rpartition(b"\n")[2])
    assert len(rows) == content.count(b"\n") + whole, "behind the last newline only a whole object cannot go on"
    assert all(row["error"] in (None, *QUARANTINE) for row in rows)


def test_blank_lines_carriage_returns_and_a_byte_order_mark_are_harmless(tmp_path: Path):
    path = put(tmp_path / "a.jsonl", b"\xef\xbb\xbf" + line("1").rstrip() + b"\r\n\n \r\n" + line("2"))
    rows = Reader(path).poll()
    assert texts(rows) == ["1", "", "", "2"] and not any(row["error"] for row in rows)


def test_a_huge_line_costs_bounded_memory_and_one_record(tmp_path: Path):
    path = tmp_path / "a.jsonl"
    with path.open("wb") as file:
        file.write(line("before") + b'{"text": "')
        for _ in range(100):
            file.write(b"a" * 1_000_000)
        file.write(b'"}\n' + line("after"))
    tracemalloc.start()
    rows = Reader(path, max_record_bytes="1MiB").poll()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert [row["error"] for row in rows] == [None, "oversized", None] and rows[1]["num_bytes_read"] == 100_000_013
    assert peak < 40e6


def test_other_fields_can_be_named_and_ids_are_kept(tmp_path: Path):
    path = put(
        tmp_path / "a.jsonl", b'{"body": "a", "at": 1700000000, "key": 7}\n{"body": "b", "at": "soon", "key": [1]}\n'
    )
    rows = Reader(path, text="body", time="at", id="key").poll()
    assert texts(rows) == ["a", "b"] and [row["external_id"] for row in rows] == ["7", "[1]"]
    assert [row["event_time"] for row in rows] == [datetime(2023, 11, 14, 22, 13, 20, tzinfo=UTC), None]
    assert [row["time_note"] for row in rows] == [None, "not_understood"]


# one document per file


def test_other_files_are_one_document_each(tmp_path: Path):
    put(tmp_path / "a.md", "# Öl\n".encode())
    put(tmp_path / "b.txt.gz", gzip.compress(b"packed"))
    put(tmp_path / "c.txt", b"\xff\xfd")
    put(tmp_path / "d.txt", b"x" * 100)
    put(tmp_path / "e.txt.gz", gzip.compress(b"packed")[:-9])
    put(tmp_path / "f.txt", b"")
    reader = Reader(tmp_path / "*", max_record_bytes=64)
    assert texts(reader.all(1))[:2] == ["# Öl\n", "packed"]
    assert [row["error"] for row in reader.rows] == [None, None, "bad_utf8", "oversized"]
    put(tmp_path / "a.md", b"# Oel\n", OLD + 9)  # the same size
    assert texts(reader.poll()) == ["# Oel\n"]


# Parquet


def parquet(path: Path, columns: dict, **options) -> Path:
    pq.write_table(pa.table(columns), path, **options)
    os.utime(path, (OLD, OLD))
    return path


@pytest.mark.parametrize("max_records", [1, 33, 1000])
def test_parquet_rows_come_once_in_order_over_row_groups_and_windows(tmp_path: Path, max_records: int):
    times = [datetime(2026, 1, 1, tzinfo=UTC) + timedelta(days=i) for i in range(100)]
    columns = {
        "text": [f"t{i}" for i in range(100)],
        "at": pa.array(times, pa.timestamp("ns", "UTC")),
        "id": range(100),
    }
    path = parquet(tmp_path / "a.parquet", columns, row_group_size=30)
    rows = Reader(path, time="at", id="id").all(max_records)
    assert texts(rows) == columns["text"] and [row["event_time"] for row in rows] == times
    assert [row["external_id"] for row in rows] == [str(i) for i in range(100)]


def test_bad_parquet_rows_are_quarantined_one_by_one(tmp_path: Path):
    path = parquet(tmp_path / "a.parquet", {"text": pa.array([b"ok", b"\xff", None, b"x" * 100])})
    assert [row["error"] for row in Reader(path, max_record_bytes=64).poll()] == [
        None,
        "bad_utf8",
        "missing_text",
        "oversized",
    ]
    path = parquet(tmp_path / "b.parquet", {"text": [1, 2], "body": ["a", "b"]})
    assert [row["error"] for row in Reader(path).poll()] == ["wrong_type"] * 2
    assert [row["error"] for row in Reader(path, text="absent").poll()] == ["missing_text"] * 2


def test_a_damaged_row_group_quarantines_its_rows(tmp_path: Path):
    path = parquet(
        tmp_path / "a.parquet", {"text": [f"text {i}" * 50 for i in range(90)]}, row_group_size=30, use_dictionary=False
    )
    start = pq.ParquetFile(path).metadata.row_group(1).column(0).data_page_offset
    content = bytearray(path.read_bytes())
    content[start : start + 40] = b"\xff" * 40
    put(path, bytes(content))
    rows = Reader(path).poll()
    assert len(rows) == 90 and {row["error"] for row in rows[:30]} == {None}
    assert {row["error"] for row in rows[30:60]} == {"bad_parquet"}


class Bomb(pa.ExtensionType):
    went_off = False

    def __init__(self) -> None:
        super().__init__(pa.string(), "test.bomb")

    def __arrow_ext_serialize__(self) -> bytes:
        return b""

    @classmethod
    def __arrow_ext_deserialize__(cls, storage, serialized):
        cls.went_off = True
        return cls()


def test_no_code_of_an_extension_type_runs(tmp_path: Path):
    pa.register_extension_type(Bomb())
    try:
        storage = pa.array(["a", "b"])
        path = parquet(tmp_path / "a.parquet", {"text": pa.ExtensionArray.from_storage(Bomb(), storage)})
        pq.read_schema(path)
        assert Bomb.went_off  # so the file is armed
        Bomb.went_off = False
        assert texts(Reader(path).poll()) == ["a", "b"] and not Bomb.went_off
    finally:
        pa.unregister_extension_type("test.bomb")


@pytest.mark.parametrize("reads", range(6))  # two of the footer, four of the rest
def test_a_network_that_fails_while_parquet_is_read_says_nothing_about_the_file(reads, tmp_path, monkeypatch):
    monkeypatch.setattr("cluster.storage.retry.PATIENCE_S", 0.0)
    path = parquet(tmp_path / "a.parquet", {"text": [f"text {i}" * 50 for i in range(90)]}, row_group_size=30)
    source = FilesSource("mine", FilesConfig(path=str(path), format="parquet"))
    (span,) = source.discover({}, 100).spans
    left = [reads]

    class Failing:
        def __init__(self, file):
            self.size, self.close, self._read_at = file.size, file.close, file.read_at

        def read_at(self, size, start):
            left[0] -= 1
            if left[0] < 0:
                raise OSError("AWS Error NETWORK_CONNECTION during GetObject operation")
            return self._read_at(size, start)

    filesystem, name = parquet_file.open_partition(str(path))
    opened = SimpleNamespace(open_input_file=lambda name: Failing(filesystem.open_input_file(name)))
    monkeypatch.setattr(parquet_file, "open_partition", lambda partition: (opened, name))
    with pytest.raises(OSError, match="NETWORK_CONNECTION"):
        list(source.read(span))
    left[0] = reads if reads < 2 else 0  # a footer is two reads
    with pytest.raises(OSError, match="NETWORK_CONNECTION"):
        count_rows(str(path))
    left[0] = 1000
    assert sum(len(batch) for batch in source.read(span)) == 90


def test_what_a_network_breaks_off_is_asked_for_again(monkeypatch):
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    answers = [OSError("AWS Error INTERNAL_FAILURE: Failed to flush response stream")] * 9 + [b"text", OSError("gone")]

    class File:
        def read_at(self, size, start):
            answer = answers.pop(0)
            if isinstance(answer, OSError):
                raise answer
            return answer

    assert read_at(File(), 0, 4) == b"text"
    with pytest.raises(OSError, match=r"^gone$"):
        read_at(File(), 0, 4)


def write_lines(path: Path, texts: list[str]) -> None:
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))


@pytest.fixture
def nobody():
    """A folder in which permissions count, also where the tests run as root."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        codecs.lookup("utf-8-sig")  # Python reads it when it is first asked for; nobody may not, from root's Python
        was_root = os.geteuid() == 0
        if was_root:
            os.chown(folder, 65534, 65534)
            os.seteuid(65534)
        try:
            yield folder
        finally:
            if was_root:
                os.seteuid(0)


@pytest.mark.parametrize("name", ["b.jsonl", "b.jsonl.gz", "b.txt", "b.parquet"])
def test_a_file_that_may_not_be_read_is_named_and_does_not_stop_the_others(nobody, name):
    write_lines(nobody / "a.jsonl", ["one"])
    write_lines(nobody / "c.jsonl", ["three"])
    if name.endswith(".parquet"):
        pq.write_table(pa.table({"text": ["two"]}), nobody / name)
    else:
        data = b"two" if name.endswith(".txt") else b'{"text": "two"}\n'
        (nobody / name).write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
    (nobody / name).chmod(0)
    reader = Reader(nobody / "*")
    assert [row["text"] for row in reader.poll()] == ["one", "three"]
    assert reader.drained, "a run does not wait for it"
    (warning,) = reader.warnings
    assert f"file {nobody / name} cannot be read and is left for later" in warning and reader.poll() == []
    assert set(reader.warnings) == {warning}, "the same words, so that they are said once"
    (nobody / name).chmod(0o644)
    assert [row["text"] for row in reader.poll()] == ["two"]
    assert reader.poll() == [] and len(reader.warnings) == 2


def test_a_file_that_grew_and_may_not_be_read_for_a_while_goes_on_where_it_was(nobody):
    write_lines(nobody / "a.jsonl", ["one"])
    reader = Reader(nobody / "*.jsonl")
    reader.poll()
    write_lines(nobody / "a.jsonl", ["one", "two"])
    (nobody / "a.jsonl").chmod(0)
    assert reader.poll() == []
    (nobody / "a.jsonl").chmod(0o644)
    assert [row["text"] for row in reader.poll()] == ["two"]


def test_a_folder_that_may_not_be_entered_is_named_and_does_not_stop_the_others(nobody):
    for folder in ("a", "b/c", "d"):
        (nobody / folder).mkdir(parents=True)
        write_lines(nobody / folder / "x.jsonl", [folder])
    (nobody / "b").chmod(0)
    reader = Reader(nobody / "**/*.jsonl")
    assert [row["text"] for row in reader.poll()] == ["a", "d"]
    (warning,) = reader.warnings
    assert f"folder {nobody / 'b'} cannot be read" in warning
    (nobody / "b").chmod(0o755)
    assert [row["text"] for row in reader.poll()] == ["b/c"]
    nobody.chmod(0)
    with pytest.raises(PermissionError):  # where the pattern begins: then nothing is known at all
        reader.poll()
    nobody.chmod(0o755)


@pytest.mark.parametrize(
    ("partition", "error", "is_left"),
    [
        ("/data/b.jsonl", OSError(errno.EIO, "Input/output error"), True),
        ("/data/b.jsonl", OSError("cannot open directory as a file"), True),
        ("/data/b.jsonl", OSError(errno.EMFILE, "Too many open files"), False),
        ("s3://bucket/b.jsonl", OSError("AWS Error ACCESS_DENIED during GetObject operation"), True),
        ("s3://bucket/b.jsonl", OSError("AWS Error NETWORK_CONNECTION during GetObject operation"), False),
    ],
)
def test_only_what_is_wrong_with_one_file_leaves_it_for_later(monkeypatch, partition, error, is_left):
    def look(kind, file, *rest):
        raise error

    monkeypatch.setattr(files_module, "list_files", lambda *given: [FileState(partition, 9, 1)])
    monkeypatch.setattr(looking_module, "look_at", look)
    source = FilesSource("mine", FilesConfig(path="*.jsonl", format="jsonl"))
    if is_left:
        found = source.discover({}, 9)
        assert (found.spans, found.cursor, found.drained, len(found.warnings)) == ([], {}, True, 1)
    else:
        with pytest.raises(OSError, match=re.escape(str(error))):
            source.discover({}, 9)
