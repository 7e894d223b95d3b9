"""Is a wrong mapping told at the first look, with the fields that are there, and a right one shown by a record?"""

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from data_ops.sources.files.config import FilesConfig
from data_ops.sources.first_look import first_look
from tests.support.files.rows import put

RECORD = {"id": 7, "body": "Ä text of\na mill.", "published_at": "2023-01-02", "package": {"name": "x", "text": "deep"}}


def look(path, **config):
    return first_look("wire", FilesConfig(path=str(path), settle=0, **config))


def test_a_file_that_was_written_just_now_is_looked_at_though_it_would_not_be_read_yet(tmp_path):
    path = put(tmp_path / "a.txt", b"A note about a mill.")
    assert first_look("wire", FilesConfig(path=str(path), settle=60)).sample.endswith("text 'A note about a mill.'")


def lines(path, *records):
    return put(path, b"".join(json.dumps(record).encode() + b"\n" for record in records))


def parquet(path):
    pq.write_table(pa.Table.from_pylist([RECORD]), path)
    return path


@pytest.mark.parametrize("make", [lambda p: lines(p / "a.jsonl", RECORD), lambda p: parquet(p / "a.parquet")])
def test_a_wrong_field_is_refused_with_those_that_are_there(tmp_path, make):
    path = make(tmp_path)
    assert look(path, text="body", time="published").problem == (
        "sources.wire: no record has the field 'published'; the fields are id, body, published_at, package.name, "
        "package.text; did you mean time: published_at?"
    )
    assert "did you mean text: package.text?" in look(path).problem
    assert len(look(path, time="x", id="y").problem.splitlines()) == 3
    right = look(path, text="body", time="published_at", id="id")
    assert right.problem is None
    assert right.sample == f"{path}: 2023-01-02 00:00:00 UTC, id 7, text 'Ä text of a mill.'"
    assert look(path, text="package.text").problem is None and look(path, text="body", id="package").problem is None


@pytest.mark.parametrize("beside", [b'"\\ud83d"', b'"caf\xe9"', b"NaN", b"1e400"])
def test_fields_are_named_whatever_stands_in_the_others(tmp_path, beside):
    path = put(tmp_path / "a.jsonl", b'{"body": "a", "\\u001b[31m\\n": 1, "": 2, "\\udc00": 3, "x": %s}\n' % beside)
    there = r"the fields are body, \x1b[31m\x0a, '', \udc00, x; did you mean text: x?"
    assert there.split(";")[0] in look(path).problem and "\n" not in look(path).problem


def test_a_field_that_only_some_files_or_lines_have_is_there(tmp_path):
    lines(tmp_path / "a.jsonl", {"text": "one"}, {"text": "two", "at": 2023})
    lines(tmp_path / "b.jsonl", {"text": "three", "id": 1})
    assert look(tmp_path / "*", time="at", id="id").problem is None
    assert "'ids'" in look(tmp_path / "*", id="ids").problem


def test_what_cannot_be_judged_is_not_refused(tmp_path):
    put(tmp_path / "a.jsonl", b"no json\n" * 3)
    assert "cannot be read (bad json)" in look(tmp_path / "a.jsonl").sample
    put(tmp_path / "b.txt", b"prose " * 40)
    assert look(tmp_path / "b.txt", time="at").sample.endswith("prose ...'")
    put(tmp_path / "c.jsonl", b'{"x": "' + b"y" * 100_000 + b'", "text": "a"}\n')
    assert look(tmp_path / "c.jsonl").problem is None
    assert look(tmp_path / "none*") == (None, None)
    lines(tmp_path / "d.jsonl", {"text": "t", "at": "soon"})
    assert "a time that is not understood" in look(tmp_path / "d.jsonl", time="at").sample


def test_conversations_that_are_not_there_are_told_with_the_fields_that_are(tmp_path):
    path = lines(tmp_path / "a.jsonl", {"turns": [{"role": "user"}], "prompt": "Why?"})
    assert look(path, objective="instruct").problem == (
        "sources.wire: no record has the field 'messages', nor 'prompt' with 'completion'; the fields are turns, "
        "prompt; set sources.wire.messages, or .prompt and .completion, to what they are called"
    )
    assert look(path, objective="instruct", messages="turns").problem is None
    path = lines(tmp_path / "b.jsonl", {"prompt": "Why is that?", "completion": "So it is."})
    found = look(path, objective="instruct")
    assert found.problem is None and found.sample.endswith("text '▶ Why is that? ◀ So it is.'")
