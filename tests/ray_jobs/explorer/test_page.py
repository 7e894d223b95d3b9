"""Can somebody in a real browser find a site, sort, and read samples; and does the page ask for nothing?"""

from collections.abc import Iterator
from pathlib import Path

import pytest

from cluster.storage.store import Store
from ray_jobs.explorer.gathering import Exploration, gather_figures
from ray_jobs.explorer.page import explorer_page
from tests.support.explored.browser import CHROMIUM, Browser
from tests.support.explored.sites import Row, site_lake

pytestmark = [pytest.mark.slow, pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")]


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of a store with some forty sites, one of them beyond the Basic Multilingual Plane."""
    folder = tmp_path_factory.mktemp("explored")
    rows: list[Row] = [{"external_id": f"https://site{n}.org/{k}"} for n in range(38) for k in range(n % 3 + 1)]
    rows += [{"external_id": "https://news.site7.org/1", "text": "<b>bold</b> \u202e"}]
    rows += [
        {"external_id": "https://notsite7.org/1"},
        {"external_id": "https://𝔞𝔟.org/1"},
        {"external_id": "https://𝔞𝔠.org/1"},
    ]
    rows += [{"source": "news", "fate": "dropped"}]
    site_lake(folder / "lake", [rows])
    path = folder / "explorer.html"
    path.write_text(explorer_page(gather_figures(Store.open(str(folder / "lake")), Exploration())), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    with Browser() as started:
        yield started


@pytest.fixture
def browser(chromium: Browser, page: Path) -> Iterator[Browser]:
    """A browser that shows the page."""
    chromium.open(page)
    yield chromium
    assert chromium.complaints == [], "no error, nothing refused, nothing asked for"


SITES = "[...document.querySelectorAll('#sites tbody tr')].map(row => row.cells[0].textContent)"
VERDICT = "document.querySelector('#verdict').textContent"


def test_a_site_is_found_with_those_below_it_by_typing(browser: Browser) -> None:
    assert len(browser.value(SITES)) == 15
    browser.type("#query", "https://www.Site7.org/page")
    assert browser.value(VERDICT).startswith(
        "Yes: site7.org has 2 records, 0 of them in the weights. There is 1 below it"
    )
    assert browser.value(SITES) == ["site7.org", "news.site7.org"]
    browser.type("#query", "site3")
    assert browser.value(VERDICT) == "No site here is called site3. There are 9 that begin so."
    browser.type("#query", "𝔞𝔠.org")
    assert browser.value(SITES) == ["𝔞𝔠.org"]
    browser.type("#query", "nowhere.org")
    assert browser.value(VERDICT) == "No site here is called nowhere.org." and browser.value(SITES) == []


def test_a_link_to_an_answer_shows_it(browser: Browser, page: Path) -> None:
    browser.open(page, "#site=site5.org")
    assert browser.value(VERDICT).startswith("Yes: site5.org has 3 records")


def test_columns_sort_both_ways_and_more_sites_are_shown_on_request(browser: Browser) -> None:
    first = "#sites thead th:first-child button"
    browser.click(first)
    assert browser.value(SITES)[:2] == ["in", "news.site7.org"]
    browser.click(first)
    assert browser.value(SITES)[0] == "𝔞𝔠.org"
    browser.click("#more")
    assert len(browser.value(SITES)) == 43


def test_a_click_on_a_site_shows_what_was_read_there_as_text(browser: Browser) -> None:
    browser.type("#query", "news.site7.org")
    browser.click("#sites tbody button.open")
    assert browser.value("document.querySelector('#samples').open")
    assert browser.value("document.querySelector('#samples h2').textContent") == "news.site7.org"
    assert browser.value("document.querySelector('#samples pre').textContent") == r"<b>bold</b> \u202e"
    assert browser.value("document.querySelectorAll('#samples b').length") == 0


def test_a_click_on_a_reason_shows_where_it_was_dropped(browser: Browser) -> None:
    browser.click("table.sorted td small")  # beside the button: nothing opens
    assert not browser.value("document.querySelector('#samples').open")
    browser.click("figure table.sorted button.open[data-cell='0']")
    assert "news:in/a.jsonl" in browser.value("document.querySelector('#samples').textContent")


def test_the_page_is_not_wider_than_a_phone(browser: Browser, page: Path) -> None:
    browser.open(page, width=390, dark=True)
    assert browser.value("document.documentElement.scrollWidth") == 390
