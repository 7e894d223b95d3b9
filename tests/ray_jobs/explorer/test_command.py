"""Does the command write one page with the figures of the store, the same for the same store, and find every site?"""

import json
from pathlib import Path

import pyarrow as pa
import pytest
from typer.testing import CliRunner

from cluster.storage.state import write_json
from cluster.storage.store import Store
from data_ops.documents.document import document_id
from data_ops.kernels.arrays import ids_to_array
from data_ops.lake.lake import Lake
from data_ops.survey.corpus import survey
from ray_jobs.__main__ import app
from ray_jobs.explorer.command import is_match, look_up, site_names
from ray_jobs.explorer.counting import explored
from ray_jobs.explorer.gathering import Exploration, gather_figures
from ray_jobs.explorer.page import explorer_page
from ray_jobs.explorer.sampling import TEXT_CHARS
from ray_jobs.outcome import ConfigError
from tests.support.explored.sites import Row, site_lake

pytestmark = pytest.mark.slow

HOSTILE = "</script><script>alert(1)</script>\u202e\x1b[2J&amp;\u2028<img src=x onerror=alert(2)>"


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """A store with two sources, three sites, a dropped and a quarantined record, and a stranger's text."""
    first: list[Row] = [{"external_id": f"https://a.org/{n}", "text": f"words {n} {HOSTILE}"} for n in range(5)]
    first += [{"external_id": "https://sub.a.org/1", "fate": "dropped", "text": "bad"}]
    second: list[Row] = [{"source": "news", "text": "x" * 2000}, {"fate": "quarantined", "reason": "bad_json"}]
    site_lake(tmp_path / "lake", [first, second])
    return Store.open(str(tmp_path / "lake"))


def test_the_page_and_the_json_have_the_same_figures_and_the_same_store_gives_the_same_bytes(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(app, ["explore", f"store={store.uri}", "--json"])
    assert done.exit_code == 0, done.output
    told = json.loads(done.stdout.splitlines()[-1])
    assert told["records"] == 8 and told["outcomes"] == {"pending": 6, "dropped": 1, "quarantined": 1}
    assert [(one["site"], one["source"], one["records"]) for one in told["sites"]] == [
        ("a.org", "web", 5),
        ("in", "news", 1),
        ("in", "web", 1),
        ("sub.a.org", "web", 1),
    ]
    stages = [(one["source"], one["reason"], one["records_in"], one["records"]) for one in told["funnel"]]
    assert stages == [("web", "bad_json", 7, 1), ("web", "too_short", 6, 1)]
    page = (tmp_path / "explorer.html").read_text(encoding="utf-8")
    assert page == explorer_page(gather_figures(store, Exploration()))


def test_nothing_of_a_stranger_is_markup_or_steers(store: Store) -> None:
    told = gather_figures(store, Exploration())
    page = explorer_page(told)
    assert page.count("<script") == 2 and page.count("</script>") == 2, "the figures and the house's own script"
    assert "onerror=alert(2)" in page, "the text is there"
    assert "<img" not in page and "&amp;amp;" not in page
    assert not [c for c in page if c in "\u202e\x1b\u2028"]
    (cell,) = [one for one in told.samples if one.site == "a.org"]
    assert r"\u202e\x1b[2J" in str(cell.samples[0].text)


def test_without_samples_the_page_has_no_text_and_no_external_id(store: Store) -> None:
    told = gather_figures(store, Exploration(samples=0))
    page = explorer_page(told)
    assert "words 1" not in page and "a.org/" not in page and "a.org" in page
    assert not told.samples


def test_samples_are_as_many_as_asked_and_cut(store: Store) -> None:
    cells = gather_figures(store, Exploration(samples=2)).samples
    assert {(c.source, c.outcome, c.reason, c.site): len(c.samples) for c in cells} == {
        ("news", "pending", None, None): 1,
        ("web", "dropped", "too_short", None): 1,
        ("web", "pending", None, None): 2,
        ("web", "quarantined", "bad_json", None): 1,
        ("web", None, None, "a.org"): 2,
        ("news", None, None, "in"): 1,
    }
    (news,) = cells[0].samples
    assert news.is_cut and news.text == "x" * TEXT_CHARS
    (dropped,) = next(c.samples for c in cells if c.outcome == "dropped")
    assert dropped.text is None and dropped.place == "web:in/a.jsonl:5"


def test_what_is_forgotten_is_on_no_page(store: Store) -> None:
    text = f"words 3 {HOSTILE}"
    assert "words 3" in explorer_page(gather_figures(store, Exploration(samples=20)))
    Lake(store).forget(ids_to_array(pa.array([document_id(text)], pa.binary(16))))
    told = gather_figures(store, Exploration(samples=20))
    page = explorer_page(told)
    assert "words 3" not in page and "a.org/3" not in page and "words 2" in page
    assert told.outcomes["forgotten"] == 1


def test_sites_beyond_the_page_are_told_and_still_found(store: Store) -> None:
    told = explored(survey(Lake(store), {}, 0, 0), "lake", [], [], most_sites=2)
    assert (len(told.sites), told.num_sites, told.further_records, told.largest_further) == (2, 4, 2, 1)
    page = explorer_page(told)
    assert "And 2 further sites with 2 records, none with more than 1" in page and "sub.a.org" not in page
    lines, found = look_up(store, Exploration(), "https://www.sub.A.org/x")
    assert lines == ["sub.a.org: yes, with 1 record", "  sub.a.org (web): 1 record, 1 dropped"]
    assert found["records"] == 1


@pytest.mark.parametrize(
    ("asked", "first"),
    [
        ("a.org", "a.org: yes, with 5 records"),
        ("sub", "sub: no; but these begin or end so:"),
        ("b.org", "b.org: no"),
    ],
)
def test_a_site_is_looked_up_by_host_beginning_and_what_lies_below(store: Store, asked: str, first: str) -> None:
    done = CliRunner().invoke(app, ["explore", f"store={store.uri}", "--site", asked])
    assert done.exit_code == 0 and done.stdout.splitlines()[0] == first
    assert ("sub.a.org (web)" in done.stdout) == (asked != "b.org")


def test_a_run_that_is_not_there_is_refused_in_a_sentence(store: Store) -> None:
    assert gather_figures(store, Exploration(run="other")).records == 8, "a store that was only ingested has none yet"
    Lake(store).add_ledger("mine", {"step": 0, "round": 0, "step_in_round": 0, "checkpoint": "", "state": "{}"})
    with pytest.raises(ConfigError, match=r"it has mine"):
        gather_figures(store, Exploration(run="other"))


def test_rules_stand_in_the_order_in_which_the_run_applied_them(tmp_path: Path) -> None:
    rows: list[Row] = [{"fate": "dropped", "reason": reason, "text": reason} for reason in ("too_short", "few_letters")]
    lake = site_lake(tmp_path, [rows])
    lake.add_ledger("mine", {"step": 0, "round": 0, "step_in_round": 0, "checkpoint": "", "state": "{}"})
    assert [one.reason for one in gather_figures(lake.store, Exploration()).funnel] == ["too_short", "few_letters"]
    write_json(lake.store, "runs/mine/config.json", {"curate": {"rules": ["few_letters", "too_short"]}})
    assert [one.reason for one in gather_figures(lake.store, Exploration()).funnel] == ["few_letters", "too_short"]


def test_sources_are_only_read_again_where_some_are_configured(store: Store) -> None:
    done = CliRunner().invoke(app, ["explore", f"store={store.uri}", "--sources"])
    assert isinstance(done.exception, ConfigError) and "give -c" in str(done.exception)


def test_a_site_without_a_name_is_refused(store: Store) -> None:
    with pytest.raises(ConfigError, match=r"--site=' / ' names no site"):
        look_up(store, Exploration(), " / ")


def test_a_page_that_cannot_be_written_is_told_in_a_sentence(store: Store) -> None:
    done = CliRunner().invoke(app, ["explore", f"store={store.uri}", "--to", "/nowhere/at/all.html"])
    assert isinstance(done.exception, ConfigError) and "name another file" in str(done.exception)


def test_names_match_as_people_mean_them() -> None:
    assert site_names(" https://me@www.Example.com:80/a/ ")[0] == "example.com"
    assert site_names("/data/Texts/")[1] == "/data/Texts" and site_names("s3://b/K")[1] == "s3://b/K"
    assert is_match("news.example.com", "example.com") and is_match("example.com.au", "example.com")
    assert not is_match("notexample.com", "example.com")
