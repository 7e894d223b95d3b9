"""Do the bytes of a file say what it is, and is what nobody knows refused instead of read as prose?"""

import codecs
import gzip

import pytest

from data_ops.sources.files.config import FilesConfig
from data_ops.sources.files.formats.content import UnknownKindError, sniffed_format
from data_ops.sources.kinds import open_source
from tests.support.files.rows import put, read_rows, read_with_warnings

LINES = '{"text": "Ä first line."}\r\n{"text": "A second line 😀."}\r\n'
MARKS = {"utf-8": codecs.BOM_UTF8, "utf-16-le": codecs.BOM_UTF16_LE, "utf-16-be": codecs.BOM_UTF16_BE}
MARKS |= {"utf-32-le": codecs.BOM_UTF32_LE, "utf-32-be": codecs.BOM_UTF32_BE}


def found(path, **config):
    return [row["error"] or row["text"] for row in read_rows(path, **config)]


@pytest.mark.parametrize("encoding", MARKS)
@pytest.mark.parametrize("marked", [True, False])
def test_the_encodings_of_windows_are_read(tmp_path, encoding, marked):
    mark = MARKS[encoding] if marked else b""
    path = put(tmp_path / "a.jsonl", mark + LINES.encode(encoding))
    assert found(path) == ["Ä first line.", "A second line 😀."]
    if marked:
        path = put(tmp_path / "a.txt", mark + "Ein Wörterbuch.\r\nZwei.".encode(encoding))
        assert found(path) == ["Ein Wörterbuch.\r\nZwei."]


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be"])
def test_utf_16_is_known_without_a_mark_where_most_of_it_is_latin(tmp_path, encoding):
    prose = "# Ein Wörterbuch\r\nder “Wasserräder”.\n"
    assert found(put(tmp_path / "a.md", prose.encode(encoding))) == [prose]
    assert found(put(tmp_path / "a.csv", "text,id\nein Rad,1\n".encode(encoding))) == ["ein Rad"]
    rows, warnings = read_with_warnings(put(tmp_path / "b.txt", b"\xff\xfe" + "Half".encode("utf-16-le") + b"x"))
    assert rows == [] and "ends inside" in warnings[0], "the rest of the last character is on its way"


@pytest.mark.parametrize("encoding", ["utf-32-le", "utf-32-be"])
def test_utf_32_is_known_without_a_mark(tmp_path, encoding):
    assert found(put(tmp_path / "a.txt", "水车 and wheel.\n".encode(encoding))) == ["水车 and wheel.\n"]
    assert found(put(tmp_path / "a.csv", "text,id\n水车,1\n".encode(encoding))) == ["水车"]


def test_half_a_character_in_utf_16_costs_its_line(tmp_path):
    torn = '{"text": "'.encode("utf-16-le") + b"\x00\xd8" + '"}\n{"text": "good"}\n'.encode("utf-16-le")
    assert found(put(tmp_path / "a.jsonl", codecs.BOM_UTF16_LE + torn)) == ["bad_utf8", "good"]
    assert found(put(tmp_path / "b.jsonl", codecs.BOM_UTF32_LE + b"\xff" * 8)) == ["bad_utf8"]


def test_a_mark_in_the_middle_is_no_character(tmp_path):
    one, two = codecs.BOM_UTF8 + b'{"text": "one"}\n', codecs.BOM_UTF8 + b'{"text": "two"}\n'
    assert found(put(tmp_path / "a.jsonl", one + two)) == ["one", "two"]
    assert found(put(tmp_path / "b.txt", codecs.BOM_UTF8 + b"one\n" + codecs.BOM_UTF8 + b"two")) == ["one\ntwo"]


@pytest.mark.parametrize(
    "name", ["app.jsonl.1", "app.jsonl-20240101", "app.jsonl.old", "app.1", "app", "app.log", "a.dump"]
)
def test_json_lines_are_known_by_what_they_say(tmp_path, name):
    assert found(put(tmp_path / name, b'{"text": "A line."}\n{"text": "Another."}\n')) == ["A line.", "Another."]


def test_json_lines_are_known_behind_a_torn_one_and_before_they_are_whole(tmp_path):
    lines = b'{"text": "A line."}\n{"text": "Another."}\n'
    assert found(put(tmp_path / "app.log", b'of a line"}\n' + lines)) == ["bad_json", "A line.", "Another."]
    for name in ("app.log", "events"):
        rows, (warning,) = read_with_warnings(put(tmp_path / name, b'{"text": "half a li'))
        assert rows == [] and "ends inside a line" in warning
    prose = b'An example:\n{"text": "A line."}\n{"text": "Another."}\n'
    assert found(put(tmp_path / "a.md", prose)) == [prose.decode()]


@pytest.mark.parametrize("name", ["a.csv", "a.tsv", "a.parquet"])
def test_json_lines_under_the_name_of_a_table_are_read(tmp_path, name):
    assert found(put(tmp_path / name, b'{"text": "A line.", "n": 1}\n{"text": "B"}\n')) == ["A line.", "B"]


def test_prose_may_show_json_and_lines_may_be_asked_for(tmp_path):
    example = b'{"name": "an example in a text"}\nwith words behind it'
    assert found(put(tmp_path / "a.md", example)) == [example.decode()]
    path = put(tmp_path / "b.txt", b"one document\nanother one\r\n\nand \xff\n")
    assert found(path, format="lines") == ["one document", "another one\r", "", "bad_utf8"]


REFUSED = {
    "a.psv": b"id|text\n1|a\n",
    "a.pdf": b"%PDF-1.7 hello",
    "a.txt": b"PK\x03\x04 a document of an office",
    "b.bin": b"abc\0def",
    "c.arrow": b"ARROW1\0\0",
    "zip.jsonl": b"PK\x03\x04\x14\0\0\0lines",
    "zip.csv": b"PK\x03\x04\x14\0\0\0a,b\n1,2\n",
    "twice.jsonl.gz": gzip.compress(gzip.compress(b'{"text": "a"}\n')),
    "tar.jsonl.gz": gzip.compress(b"a.jsonl".ljust(257, b"\0") + b"ustar" + bytes(250)),
    "feather.parquet": b"ARROW1\0\0",
    "error.parquet": b"<!DOCTYPE html><title>404</title>",
    "a.jsonl": b"\x04\x22\x4d\x18\x64\x40\xa7",
    "pickle.txt": b"\x80\x04\x95\0",
    "book.txt": b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n",
    "book.jsonl": b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n",
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_nobody_knows_is_left_out_with_a_sentence(tmp_path, name):
    path = put(tmp_path / name, REFUSED[name])
    rows, (warning,) = read_with_warnings(path)
    assert rows == [] and name in warning and "left out" in warning and "<" not in warning
    source = open_source("files", FilesConfig(path=str(path), settle=0))
    assert [each.reason for each in source.discover({}, 10).untaken] == ["unknown_kind"], "it is in the account"
    assert len(read_rows(path, format="text")) == 1  # whoever says so gets it


def test_a_word_that_begins_a_file_of_machines_may_begin_a_text(tmp_path):
    for word in ("ORCHARDS are old.", "GIF87 was a format.", "Obj", "BZhang wrote this.", "Rar! he said."):
        assert found(put(tmp_path / "a.txt", word.encode())) == [word]


@pytest.mark.parametrize("name", ["README", "a.md", "a.py", "a.html", "a.txt.1", "a.log", "a.c", "x.y/LICENSE"])
def test_prose_and_source_code_are_text(name):
    assert sniffed_format(name, b"hello there", "text") == "text"


def test_parquet_is_known_by_its_first_bytes():
    assert (
        sniffed_format("a.bin", b"PAR1\x15", "text") == "parquet"
        and sniffed_format("a.parquet", b"", "text") == "parquet"
    )
    with pytest.raises(UnknownKindError):
        sniffed_format("a.unknown", b"", "text")
