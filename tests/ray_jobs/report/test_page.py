"""Is the report whole, safe and honest, whatever the run looked like?"""

import html.parser
import math
import re
import time
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cluster.redaction import redact
from ray_jobs.report.charts.timeline import Moment
from ray_jobs.report.data import ReportData
from ray_jobs.report.page import render_run
from tests.support.report_sample import sample

EVIL = (
    "</title><script>alert(1)</script><img src=x onerror=\"alert('2')\"> ]]> &amp; \x1b[2J \u202e \ud800 ünïcödé 漢字"
)
VOID = {"meta"}
ELEMENTS = set(re.findall(r"\w+", "html head meta title style body main header footer section figure h1 h2 h3 p b"))
ELEMENTS |= set(
    re.findall(r"\w+", "span small div i ul li table thead tbody tr th td dl dt dd svg text path rect circle")
)
SECTIONS = ["The judgement", "What it knows", "How it learned", "What it was fed", "From read to trained"]
SECTIONS += ["What each rule takes out", "How fresh", "On the time line", "Made with"]


class Page(html.parser.HTMLParser):
    """Collects elements and text, and fails where tags do not match."""

    def __init__(self, page):
        super().__init__()
        self.open, self.elements, self.attributes, self.said = [], [], [], []
        self.feed(page)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.elements.append(tag)
        self.attributes += [(tag, *pair) for pair in attrs]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open[-1:] != ["style"]:
            self.said.append(data)

    @property
    def text(self):
        return "".join(self.said)


@pytest.fixture(scope="module")
def data():
    return sample()


def titles(page):
    return re.findall(r"<h2>(.*?)</h2>", page)


def test_the_report_reads_like_a_story_from_the_verdict_to_the_fingerprints(data):
    page = render_run(data)
    assert titles(page) == SECTIONS
    said = Page(page).text
    assert said.index("is the new champion") < said.index("The judgement")
    assert page.count('<div class="tiles">') == 1 and re.search(r"−0\.0\d\d", said)
    assert "1,292 steps" in said and "412k tokens/s" in said and "lost 0, repeated 0" in said


def test_the_report_needs_nothing_but_itself(data):
    page = render_run(data)
    found = Page(page)
    assert not {"script", "link", "iframe", "object", "img"} & set(found.elements)
    assert not [a for a in found.attributes if a[1] in ("src", "href", "srcset") or a[1].startswith("on")]
    assert "url(" not in page and "@import" not in page and "http://" not in page and "https://" not in page
    assert "default-src &#x27;none&#x27;" in page or "default-src 'none'" in page


def test_it_adapts_to_dark_to_paper_and_to_small_screens(data):
    page = render_run(data)
    for query in ("(prefers-color-scheme: dark)", "@media print", "(max-width: 860px)"):
        assert query in page


def test_every_picture_tells_a_screen_reader_what_it_is(data):
    pictures = re.findall(r"<svg[^>]*role=\"img\"[^>]*><title>(.+?)</title>", render_run(data))
    assert len(pictures) == render_run(data).count('role="img"') >= 10


def test_every_coordinate_is_a_finite_number(data):
    drawn = "".join(re.findall(r"<svg.*</svg>", render_run(data)))
    assert not re.search(r"(?<![\w-])(nan|inf)(?![\w-])", drawn)


def poisoned():
    name = f"src{EVIL}/2026-01"
    good = sample(rounds=3, steps_per_round=4)
    judged = {**good.decision, "reasons": [EVIL], "slices": [{**s, "name": EVIL} for s in good.decision["slices"]]}
    slices = {name: {"bits_per_byte": 1.0, "documents": 3, "bytes": 9}}
    return replace(
        good,
        summary={**good.summary, "checkpoint": EVIL, "documents": {"read": 10, "trained": 5, "dropped": {EVIL: 5}}},
        config={"name": EVIL, EVIL: EVIL},
        evaluations=[{"step": i, "round": EVIL, "slices": slices} for i in range(4)],
        decision=judged,
        ages={
            **good.ages,
            "sources": {EVIL: {"fresh": 1, "replay": 2}},
            "ideal": {EVIL: good.ages["fresh"]},
            "unit": EVIL,
        },
        quarantine=[{"place": EVIL, "reason": EVIL, "sample": EVIL}],
        events=[Moment(1e9 + i, kind, EVIL) for i, kind in enumerate(("start", "fault", EVIL))],
        versions={EVIL: EVIL},
    )


def test_text_of_strangers_never_becomes_markup_wherever_it_stands():
    page = render_run(poisoned())
    found = Page(page)
    assert set(found.elements) <= ELEMENTS
    assert not [a for a in found.attributes if a[1].startswith("on")]
    assert "alert(1)" in found.text
    assert not re.search(r"[\x00-\x08\x1b\u202e]", page)
    page.encode("utf-8")


@settings(max_examples=60)
@given(st.text(st.characters(), max_size=60))
def test_any_sample_survives_as_text(evil):
    page = render_run(
        ReportData(summary={"documents": {"read": 1}}, quarantine=[{"place": evil, "reason": "x", "sample": evil}])
    )
    assert set(Page(page).elements) <= ELEMENTS
    page.encode("utf-8")


@pytest.mark.parametrize(
    "key", ["api_key", "password", "aws_secret_access_key", "token", "hf_token", "sasl_password", "AUTH"]
)
def test_secrets_never_appear(key):
    page = render_run(ReportData(config={"name": "x", "sources": [{"deep": {key: "hunter2"}}]}))
    assert "hunter2" not in page and "***" in page


def test_secrets_within_addresses_are_masked_and_ordinary_values_are_not():
    config = {
        "store": "s3://user:hunter2@host/lake?sig=hunter2&x=1",
        "row_tokens": 2048,
        "key": "wire",
        "tokenizer": {"kind": "bpe"},
    }
    assert "hunter2" not in str(redact(config))
    assert redact(config) | {"store": ""} == config | {"store": ""}


def test_nothing_at_all_still_gives_a_page_that_says_so():
    page = render_run(ReportData())
    assert titles(page) == [title for title in SECTIONS if title != "What each rule takes out"] and "<svg" not in page
    for said in (
        "No candidate was judged",
        "No held-out text",
        "Too few steps",
        "Nothing was read",
        "No freshness",
        "No events",
    ):
        assert said in page


def test_a_tiny_run_is_told_without_empty_charts():
    page = render_run(sample(rounds=1, steps_per_round=3, periods=1, sources=("wire",), windows=1))
    Page(page)
    assert "One round." in page and "1 round" not in titles(page)


def test_a_flat_series_is_said_in_a_word_and_not_drawn(data):
    flat = [{**m, "learning_rate": 3e-4} for m in data.metrics]
    page = render_run(replace(data, metrics=flat))
    assert "learning rate 3.0e-4 throughout" in page and "<h3>Learning rate" not in page


@pytest.mark.parametrize("bad", [None, math.nan, math.inf, "text"])
def test_values_that_are_no_numbers_are_left_out(data, bad):
    metrics = [{**m, "loss": bad if i % 3 == 0 else m["loss"], "grad_norm": bad} for i, m in enumerate(data.metrics)]
    evaluations = [{**e, "slices": {**e["slices"], "wire/2026-01": {"bits_per_byte": bad}}} for e in data.evaluations]
    odd = replace(
        data,
        metrics=metrics,
        evaluations=evaluations,
        freshness_s=[bad, *data.freshness_s],
    )
    drawn = "".join(re.findall(r"<svg.*</svg>", render_run(odd)))
    assert not re.search(r"(?<![\w-])(nan|inf|None)(?![\w-])", drawn)


@pytest.mark.slow
def test_a_huge_run_stays_a_page_that_a_browser_opens():
    data = sample(rounds=500, steps_per_round=200, periods=30, windows=500)
    assert len(data.metrics) == 100_000
    start = time.process_time()
    page = render_run(data)
    assert len(page) < 3_000_000 and time.process_time() - start < 20
    Page(page)


def test_a_refusal_names_the_first_reason_in_the_headline(data):
    decision = {**data.decision, "promoted": False, "reasons": ["fresh text got worse: +0.1 bits/byte", "x"]}
    decision["fresh"] = {**data.decision["fresh"], "verdict": "worse"}
    page = render_run(replace(data, decision=decision))
    assert "was not promoted: fresh text got worse: +0.1 bits/byte." in page and 'class="mark no"' in page


def test_a_refusal_for_old_text_does_not_boast_of_the_fresh_one(data):
    reasons = ["old text of wire may have lost more than 1.0%", "fresh text got better"]
    decision = {**data.decision, "promoted": False, "verdict": "refused", "reasons": reasons}
    page = render_run(replace(data, decision=decision))
    assert "was not promoted: old text of wire may have lost more than 1.0%." in page


def test_what_was_not_asked_is_no_refusal(data):
    summary = data.summary | {"promoted": False, "verdict": "not asked", "reasons": ["12 fresh held-out documents"]}
    page = render_run(replace(data, decision=None, summary=summary))
    assert "was not judged yet: 12 fresh held-out documents." in page


def test_a_decision_of_an_older_version_is_drawn(data):
    """It had one bound for all, an absolute margin, and slices instead of pools."""
    kept = ("name", "role", "documents", "bytes", "before", "after", "difference", "low", "high", "verdict")
    slices = [{name: s[name] for name in kept} for s in data.decision["slices"] if s["role"] != "pool"]
    old = {"promoted": True, "reasons": ["fresh text got better"], "slices": slices, "fresh": data.decision["fresh"]}
    old |= {"old_margin": 0.005, "confidence": 0.95, "against": "the champion"}
    assert "and old text stayed within 0.005." in render_run(replace(data, decision=old))


def test_a_decay_branch_is_named_with_the_checkpoint_it_left(data):
    at = data.summary["steps"]
    branch = replace(data, summary=data.summary | {"checkpoint": f"news@{at:08d}/{at + 22:08d}"})
    assert f"Checkpoint {at:,}, decayed over 22 more steps, is the new champion" in Page(render_run(branch)).text
    same = replace(data, summary=data.summary | {"checkpoint": f"news/{at:08d}"})
    assert f"Checkpoint {at:,} is the new champion" in Page(render_run(same)).text


def test_no_judgement_is_not_called_a_refusal(data):
    page = render_run(replace(data, decision=None, summary={"steps": 5, "rounds": 1, "promoted": False, "reasons": []}))
    assert "5 steps in 1 round; no candidate was judged." in page


def test_the_funnel_adds_up_to_what_was_trained():
    documents = {"read": 100, "trained": 60, "held_out": 5, "quarantined": 3, "pending": 2, "shed": 0}
    page = render_run(ReportData(summary={"documents": {**documents, "dropped": {"short": 20, "duplicate": 10}}}))
    amounts = re.findall(r"<title>([a-z ]+): ([\d,]+) documents", page)
    losses = [("short", "20"), ("duplicate", "10"), ("quarantined", "3"), ("held out to judge", "5"), ("pending", "2")]
    assert amounts == [("read", "100"), *losses, ("trained", "60")]


def test_one_of_a_kind_has_no_plural(data):
    summary = data.summary | {"steps": 1, "rounds": 1, "workers": 1, "documents": {"read": 1, "trained": 1}}
    said = Page(render_run(replace(data, summary=summary, decision=None))).text
    assert "1 step ·" in said and "1 round ·" in said and "1 worker, ZeRO-2" in said and "1 document" in said
    assert not re.search(r"\b1 (steps|rounds|workers|documents)\b", said)


def test_a_stop_by_the_user_is_no_refusal(data):
    summary = data.summary | {"state": "stopped", "promoted": False, "reasons": ["stopped by you"], "steps": 17}
    page = render_run(replace(data, summary=summary, decision=None))
    assert "Stopped by you at step 17; the same command goes on from there." in page
    assert 'class="mark no"' not in page


def test_a_start_without_a_step_has_no_speed(data):
    summary = data.summary | {"tokens_per_second": None, "data_wait_share": None}
    assert "tokens/s" not in Page(render_run(replace(data, summary=summary, metrics=[]))).text.split("Made with")[0]


@pytest.mark.parametrize(("days", "unit"), [(2129, "years"), (300, "months"), (20, "days"), (1.5, "hours")])
def test_ages_are_told_in_the_unit_that_suits_them(data, days, unit):
    bins = len(data.ages["fresh"])
    edges = [days * i / bins for i in range(bins + 1)]
    assert f"age of the text when trained, in {unit}" in render_run(
        replace(data, ages=data.ages | {"edges_days": edges})
    )


def test_percentiles_that_lie_close_are_written_below_each_other(data):
    page = render_run(replace(data, freshness_s=[420.0] * 90 + [438.0] * 10 + [600.0]))
    places = re.findall(r'<text x="([\d.]+)" y="([\d.]+)"[^>]*>p(?:50|95) ', page)
    assert len(places) == 2 and places[0][1] != places[1][1]


def test_one_evaluation_of_many_slices_is_a_table(data):
    page = render_run(replace(data, evaluations=data.evaluations[:1]))
    assert "<th>period</th><th>help</th><th>wire</th>" in page and "<td>2026-01</td>" in page


def test_the_first_champion_is_told_once(data):
    reason = "no champion yet: 1.815 bits/byte over 75 documents beats the untrained model, so it is the first champion"
    decision = data.decision | {"promoted": True, "fresh": None, "reasons": [reason]}
    said = Page(render_run(replace(data, decision=decision))).text
    assert "is the first champion: 1.815 bits/byte over 75 documents beats the untrained model." in said
