"""Is what can be configured of a database checked before it is asked, and does no secret find a place in it?"""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_ops.sources.sql.config import SqlConfig, split_table
from data_ops.sources.sql.table import quote
from ray_jobs.config.reading import read_config
from ray_jobs.outcome import ConfigError

GIVEN = ("sources.live.kind=sql", "sources.live.url=postgresql://reader@db/news", "sources.live.table=docs")


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        (
            "url=postgresql://reader:hunter2@db/news",
            "sources.live.url: a password has no place in a configuration",
        ),
        ("url=postgresql://reader:@db/news", "a password has no place"),
        ("url=postgresql://db/news?password=hunter2", "PGPASSWORD"),
        ("url=postgresql://db/news?p%61ssword=hunter2", "PGPASSWORD"),
        ("url=postgresql://db/news?sslpassword=hunter2", "PGPASSWORD"),
        ("url=postgresql://[reader:hunter2@db/news", "it is no URL"),
        ("url=mysql://reader:hunter2@db/news", "mysql names no database that is read; write postgresql://"),
        ("url=host=db password=hunter2", "names no database that is read"),
        ("url=sqlite:///", "sqlite names no database that is read"),
        ("table=a.b.c", "'a.b.c' names no table; write TABLE or SCHEMA.TABLE"),
        ("table=a..b", "names no table"),
        ("lag=-1s", "sources.live.lag"),
        ("pasword=hunter2", "sources.live.pasword"),
    ],
)
def test_a_mistake_is_a_sentence_that_never_holds_the_secret(given: str, sentence: str):
    with pytest.raises(ConfigError) as caught:
        read_config([], [*GIVEN, f"sources.live.{given}"])
    assert sentence in str(caught.value)
    assert "hunter2" not in str(caught.value) or given.startswith("pasword")


def test_what_only_one_of_the_databases_has_is_refused_for_the_other():
    for key, sentence in (("table=a.b", "table=a.b has a schema, and SQLite has none"), ("lag=5s", "lag=5 is for Pos")):
        with pytest.raises(ConfigError, match=sentence):
            read_config([], [*GIVEN, "sources.live.url=sqlite:///docs.db", f"sources.live.{key}"])


def test_a_file_is_meant_from_the_root_wherever_it_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    config = read_config([], [*GIVEN, "sources.live.url=sqlite:///docs.db"]).sources["live"]
    assert isinstance(config, SqlConfig)
    assert (config.url, config.is_sqlite) == (f"sqlite:///{tmp_path}/docs.db", True)
    assert config.describe() == "table=docs" and not config.waits


@given(st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1), min_size=1, max_size=3))
def test_a_quoted_name_is_read_as_what_was_quoted(parts: list[str]):
    assert split_table(".".join(map(quote, parts))) == tuple(parts)
