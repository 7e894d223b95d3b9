"""Do the bytes of a file say what it is, and is what nobody knows refused instead of read as prose?"""

import codecs

import pytest

from data_ops.sources.files.formats.content import UnknownKindError, sniffed_format
from tests.support.file_rows import put, read_rows, read_with_warnings

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
    "book.txt": b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n",
    "book.jsonl": b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n",
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_nobody_knows_is_left_out_with_a_sentence(tmp_path, name):
    path = put(tmp_path / name, REFUSED[name])
    rows, (warning,) = read_with_warnings(path)
    assert rows == [] and name in warning and "left out" in warning and "<" not in warning
    assert len(read_rows(path, format="text")) == 1  # whoever says so gets it


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
