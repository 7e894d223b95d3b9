"""Is a planned window finished only by who reads its sources as they were when it was planned?"""

import json
import pickle
import re
from dataclasses import replace

import pyarrow as pa
import pytest

from data_ops.curation.config import CurateConfig
from data_ops.documents.document import DOCUMENT_SCHEMA
from data_ops.ingest.config import IngestSettings, WindowConfig
from data_ops.ingest.context import IngestContext
from data_ops.ingest.pipeline import next_window
from data_ops.ingest.takeover import OpenPlanError
from data_ops.lake.window import window_row
from data_ops.sources.kinds import FilesConfig
from tests.support.lakes import make_lake

NOTHING = pa.Table.from_pylist([], schema=DOCUMENT_SCHEMA)


@pytest.fixture
def lake(tmp_path):
    return make_lake(tmp_path / "lake")


@pytest.fixture
def folder(tmp_path):
    """Where the texts are: `news` and `mine`, one file of two records each."""
    for name in ("news", "mine"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "a.jsonl").write_text('{"text": "one", "body": "b"}\n' * 2)
    return tmp_path


def settings_of(owner, window=None, **sources):
    configs = {label: FilesConfig(**given) for label, given in sources.items()}
    return IngestSettings(configs, WindowConfig(**window or {}), CurateConfig(), 0, 0.0, owner=owner)


def of_news(folder, owner="theirs", window=None, **config):
    return settings_of(owner, window, news={"path": f"{folder}/news/*.jsonl", **config})


def of_mine(folder, owner="ours", window=None):
    return settings_of(owner, window, mine={"path": f"{folder}/mine/*.jsonl"})


def gone(owner):
    return False


def never_asked(owner):
    raise AssertionError(f"whether {owner} works was asked")


def plan(lake, settings, is_alive=never_asked, stop=lambda: False, said=None):
    report = (lambda event: None) if said is None else (lambda event: said.append(event.text))
    return next_window(
        IngestContext(lake, settings, follow=False, stop=stop, warned=set(), report=report, is_alive=is_alive)
    )


def test_the_open_window_of_a_source_that_is_not_configured_here_is_refused_in_a_sentence(lake, folder):
    plan(lake, of_news(folder))
    sentence = (
        "window 0 was planned by run theirs, which is not at work, with sources.news, which is not configured here; "
        f"start run theirs again, configure it as it was (path={folder}/news/*.jsonl), or give window.as_configured=0 "
        "to quarantine its records"
    )
    with pytest.raises(OpenPlanError, match=re.escape(sentence)) as caught:
        plan(lake, of_mine(folder), gone)
    assert str(pickle.loads(pickle.dumps(caught.value))) == sentence  # noqa: S301 - it passes through Ray
    assert lake.windows()[0] == [], "nothing was taken in"


def test_who_has_the_same_source_takes_the_window_up(lake, folder):
    theirs = plan(lake, of_news(folder))
    both = replace(of_mine(folder), sources={**of_mine(folder).sources, **of_news(folder).sources})
    assert plan(lake, both).spans == theirs.spans


@pytest.mark.slow
def test_a_window_is_left_to_its_owner_while_that_works(lake, folder):
    theirs, asked, said = plan(lake, of_news(folder)), [], []

    def is_alive(owner):
        asked.append(owner)
        if len(asked) == 3:
            lake.commit_window(theirs, NOTHING)
        return True

    ours = plan(lake, of_mine(folder), is_alive, said=said)
    assert (ours.window, list(ours.spans)) == (1, ["mine"])
    assert asked == ["theirs"] * 3
    assert len(said) == 1 and "planned by run theirs" in said[0], "it is told once what is waited for"


def test_an_owner_that_finished_its_window_before_it_left_is_no_mistake(lake, folder):
    theirs = plan(lake, of_news(folder))

    def is_alive(owner):
        lake.commit_window(theirs, NOTHING)
        return False

    assert plan(lake, of_mine(folder), is_alive).window == 1


def test_waiting_for_an_owner_ends_when_it_should_stop(lake, folder):
    plan(lake, of_news(folder))
    wishes = iter([False, True])
    assert plan(lake, of_mine(folder), lambda owner: True, lambda: next(wishes, True)) is None


@pytest.mark.slow
@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"text": "body"}, "sources.news.text=text, which is body here; {first}set it back"),
        ({"time": "at"}, "sources.news.time=None, which is at here; {first}set it back"),
        ({"format": "text"}, "sources.news.format=auto, which is text here; {first}set it back"),
        ({"max_record_bytes": 64}, "sources.news.max_record_bytes=16777216, which is 64 here; {first}set it back"),
        (
            {"path": "other/*"},
            "news/a.jsonl, which sources.news.path=other/* does not name; {first}add it to",
        ),
    ],
)
@pytest.mark.parametrize("owner", ["theirs", "ours"])
def test_a_source_that_is_read_otherwise_now_is_refused_also_in_the_rewritten_recipe_of_a_run(
    lake, folder, change, told, owner
):
    plan(lake, of_news(folder, owner))
    first = "start run theirs again, " if owner == "theirs" else ""
    with pytest.raises(OpenPlanError, match=re.escape(told.format(first=first))) as caught:
        plan(lake, of_news(folder, "ours", **change), gone if owner == "theirs" else never_asked)
    assert ("was planned by this run with" in str(caught.value)) == (owner == "ours")


def test_what_does_not_change_how_a_planned_span_is_read_may_change(lake, folder):
    theirs = plan(lake, of_news(folder))
    wider = (f"{folder}/mine/**", f"{folder}/news/*", f"{folder}/more/*")
    again = plan(lake, of_news(folder, path=wider, weight=2.0, settle=0, wait=True))
    assert again.spans == theirs.spans


def test_a_window_is_read_as_the_sources_are_configured_now_only_where_that_is_asked_for(lake, folder):
    theirs = plan(lake, of_news(folder))
    with pytest.raises(OpenPlanError):
        plan(lake, of_mine(folder, window={"as_configured": 1}), gone)
    assert plan(lake, of_mine(folder, window={"as_configured": 0})).spans == theirs.spans
    assert plan(lake, of_news(folder, window={"as_configured": 0}, text="body")).spans == theirs.spans


def test_a_plan_of_an_older_version_is_compared_by_its_labels_and_files(lake, folder):
    theirs = plan(make_lake(folder / "other"), of_news(folder))
    older = replace(theirs, owner="", sources={})
    told = json.loads(window_row(older, "planned")["counts"][0].as_py())
    assert set(told) == {"digest"}, "besides the digest, as it stands in such a store"
    lake.plan_window(older)
    assert plan(lake, of_news(folder, text="body")).spans == theirs.spans
    with pytest.raises(OpenPlanError, match=r"was planned by another ingest, .* with sources.news, which is not"):
        plan(lake, of_mine(folder))
    with pytest.raises(OpenPlanError, match=r"news/a\.jsonl, which sources\.news\.path=/nowhere/\* does not name"):
        plan(lake, of_news(folder, path="/nowhere/*"))


def test_a_plan_keeps_who_made_it_and_a_commit_keeps_the_counts(lake, folder):
    theirs = plan(lake, of_news(folder))
    _, planned = lake.windows()
    assert (planned.owner, planned.counts) == ("theirs", None)
    assert planned.sources["news"] == json.loads(of_news(folder).sources["news"].model_dump_json())
    lake.commit_window(replace(planned, counts={"read": 2}), NOTHING)
    ((committed,), _) = lake.windows()
    assert (committed.window, committed.counts, committed.spans) == (0, {"read": 2}, theirs.spans)
