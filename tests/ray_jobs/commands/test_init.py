"""Does `headrace init` write a configuration that reads what is there?"""

import bz2
import gzip
import json
import os
import sqlite3
from contextlib import closing
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from deltalake import write_deltalake
from typer.testing import CliRunner

from ray_jobs.__main__ import app
from ray_jobs.commands.init import propose
from ray_jobs.config.reading import read_config
from ray_jobs.config.schema import Config
from ray_jobs.driver.preflight import check_sources
from ray_jobs.outcome import ConfigError
from tests.data_ops.sources.dataset.saving import save

RECORDS = [
    {"uuid": f"u{n}", "title": "t", "body": f"Text number {n} of the corpus.", "published_at": f"2024-01-{n + 1:02d}"}
    for n in range(9)
]


def json_lines(path: Path) -> None:
    """Write the records, one of them broken, packed where the name says so."""
    text = "\n".join([*map(json.dumps, RECORDS), "{broken"]) + "\n"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(text.encode()) if path.suffix == ".gz" else text.encode())


def taken(folder: Path, path: str) -> Config:
    """The configuration that is proposed for a path, checked as a run checks it."""
    file = folder / "mine.yaml"
    file.write_text(propose(path).text, encoding="utf-8")
    config = read_config([str(file)])
    check_sources(config, follow=False)
    return config


@pytest.mark.parametrize("name", ["a.jsonl", "deep/er/a.jsonl.gz", "b.parquet"])
def test_the_fields_of_records_are_found_by_reading_them(tmp_path: Path, name: str) -> None:
    texts = tmp_path / "texts"
    if name.endswith(".parquet"):
        texts.mkdir()
        pq.write_table(pa.Table.from_pylist(RECORDS), texts / name)
    else:
        json_lines(texts / name)
    (source,) = taken(tmp_path, str(texts)).sources.values()
    assert (source.text, source.time, source.id) == ("body", "published_at", "uuid")


def test_a_folder_of_several_kinds_gives_a_source_each_and_names_what_is_passed_over(tmp_path: Path) -> None:
    texts = tmp_path / "texts"
    json_lines(texts / "a.jsonl")
    json_lines(texts / "b.jsonl.gz")
    (texts / "notes").mkdir()
    (texts / "notes" / "n.txt").write_text("A note without fields.")
    (texts / "cat.png").write_bytes(b"\x89PNG")
    config = taken(tmp_path, str(texts))
    assert sorted(config.sources) == ["texts-jsonl", "texts-text"]
    assert config.sources["texts-jsonl"].path == f"{texts}/**/*.jsonl*"
    assert propose(str(texts)).lines[-1] == "passed over 1 file: .png 1"


def test_every_kind_that_is_read_is_proposed_and_no_glob_matches_another_kind(tmp_path: Path) -> None:
    texts = tmp_path / "texts"
    json_lines(texts / "a.jsonl.1")
    json_lines(texts / "b.ndjson")
    (texts / "t.csv").write_text("id,body\n1,A ticket about water.\n")
    (texts / "u.tsv.bz2").write_bytes(bz2.compress(b"id\tbody\n1\tA ticket about wheels.\n"))
    (texts / "N.TXT").write_text("A note without fields.")
    for asked in (str(texts), f"{texts}/**/*"):
        sources = taken(tmp_path, asked).sources
        assert [s.path for s in sources.values()] == [
            (f"{texts}/**/*.jsonl*", f"{texts}/**/*.ndjson"),
            f"{texts}/**/*.csv",
            f"{texts}/**/*.tsv*",
            f"{texts}/**/*.TXT",
        ]
        assert [s.text for s in sources.values()] == ["body", "body", "body", "text"]


def test_a_small_corpus_warms_up_within_itself(tmp_path: Path) -> None:
    json_lines(tmp_path / "a.jsonl")
    config = taken(tmp_path, str(tmp_path / "a.jsonl"))
    assert config.optim.schedule.warming_tokens == 4096
    assert list(config.sources) == ["a"]


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda folder: None, "matches no file; give a folder, a file, a glob"),
        (lambda folder: (folder / "x.png").write_bytes(b"\x89PNG"), r"no file of a kind that is read \(\.png 1\)"),
        (
            lambda folder: (folder / "x.jsonl").write_text('{"words": "a"}\n'),
            "no record of the kind jsonl has text in one of",
        ),
    ],
)
def test_what_cannot_be_read_is_told_with_the_mend(tmp_path: Path, make, sentence: str) -> None:
    make(tmp_path)
    with pytest.raises(ConfigError, match=sentence):
        propose(str(tmp_path))


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_folder_that_may_not_be_entered_is_told(tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o000)
    with pytest.raises(ConfigError, match=r"closed cannot be listed"):
        propose(str(closed))


def test_a_folder_whose_listing_is_refused_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(patterns: tuple[str, ...]) -> None:
        raise PermissionError(13, "Permission denied", patterns[0])

    monkeypatch.setattr("ray_jobs.commands.init.list_files", refuse)
    with pytest.raises(ConfigError, match=r"^/closed cannot be listed: .*Permission denied.*; check the path"):
        propose("/closed")


def test_a_file_that_is_there_is_not_written_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    json_lines(tmp_path / "a.jsonl")
    monkeypatch.chdir(tmp_path)
    first = CliRunner().invoke(app, ["init", "a.jsonl"])
    assert first.output.endswith("wrote headrace.yaml; next: headrace run -c headrace.yaml\n"), first.output
    second = CliRunner().invoke(app, ["init", "a.jsonl"])
    assert "headrace.yaml is there already" in str(second.exception)


def test_each_table_of_a_database_that_can_be_read_exactly_becomes_a_source(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "docs.db")) as database, database:
        database.execute("create table news (id integer primary key autoincrement, body text, created_at text)")
        database.execute("create table 'old news' (id integer primary key, body text)")
        database.execute("create table counts (id integer primary key autoincrement, n int)")
        rows = [(record["body"], record["published_at"]) for record in RECORDS]
        database.executemany("insert into news (body, created_at) values (?, ?)", rows)
    url = f"sqlite:///{tmp_path}/docs.db"
    (source,) = taken(tmp_path, url).sources.values()
    assert (source.kind, source.table, source.text, source.time) == ("sql", "news", "body", "created_at")
    lines = propose(url).lines
    assert lines[0] == "news: 9 rows" and lines[1].startswith('passed over: "old news" has no INTEGER PRIMARY KEY AUTO')


def test_a_folder_that_is_a_delta_table_becomes_one_source(tmp_path: Path) -> None:
    write_deltalake(str(tmp_path / "the news"), pa.Table.from_pylist(RECORDS))
    (source,) = taken(tmp_path, str(tmp_path / "the news")).sources.values()
    assert (source.kind, source.text, source.time, source.id) == ("delta", "body", "published_at", "uuid")
    assert propose(str(tmp_path / "the news")).lines[0].startswith("the-news: a Delta table at version 0: 1 file, ")
    write_deltalake(str(tmp_path / "counts"), pa.table({"n": [1]}))
    with pytest.raises(ConfigError, match="is a Delta table without a column of text that is called text, body"):
        propose(str(tmp_path / "counts"))


def test_a_folder_that_is_a_saved_dataset_becomes_one_source(tmp_path: Path) -> None:
    for split in ("test", "train"):
        save(tmp_path / "wiki" / split, pa.Table.from_pylist(RECORDS))
    (tmp_path / "wiki" / "dataset_dict.json").write_text(json.dumps({"splits": ["test", "train"]}))
    (source,) = taken(tmp_path, str(tmp_path / "wiki")).sources.values()
    assert (source.kind, source.split, source.text, source.time) == ("dataset", "train", "body", "published_at")
    assert propose(str(tmp_path / "wiki")).lines[0].endswith("; of the splits test, train only train is read")


@pytest.mark.parametrize(
    ("url", "sentence"),
    [
        ("sqlite:////nowhere/docs.db", "unable to open database file"),
        ("postgresql://me:hunter2@db/news", "a password has no place in a configuration"),
    ],
)
def test_a_database_that_cannot_be_looked_at_is_one_sentence(url: str, sentence: str) -> None:
    with pytest.raises(ConfigError) as caught:
        propose(url)
    assert sentence in str(caught.value) and "hunter2" not in str(caught.value)
