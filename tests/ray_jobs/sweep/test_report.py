"""Does the result of a sweep say what the verdicts say: table, best.yaml, charts, report?"""

import math
from html.parser import HTMLParser

import pytest
import yaml

from data_ops.documents.tokenizer import byte_tokenizer
from ray_jobs.config.reading import check, read_config
from ray_jobs.outcome import ConfigError
from ray_jobs.report.charts.trials import batch_and_rate, parallel
from ray_jobs.sweep.question import best_values, check_points, fix_question, points, question, trial_config
from ray_jobs.sweep.report import brief, render_sweep
from ray_jobs.sweep.result import (
    TrialResult,
    best_of,
    best_yaml,
    history,
    summary,
    table_lines,
    tokens_trained,
    trials_in_order,
)
from ray_jobs.sweep.trial.job import SweepJob
from tests.support.lakes import make_lake

SPACE = {
    "engine.batch_tokens": [1024, 4096],
    "optim.lr": [1e-3, 4e-3, 1.6e-2],
    "optim.schedule.kind": ["constant", "cosine"],
}
MARKS = (6144, 24576, 98304)
BASE = {
    "name": "news",
    "store": "./lake",
    "sources": {"mine": {"path": "a.jsonl"}},
    "round": {"tokens": 65536},
    "model": {"row_tokens": 64},
    "engine": {"workers": 2, "batch_tokens": 2048},
    "sweep": {"space": SPACE, "tokens": MARKS[-1]},
}


@pytest.fixture(scope="module")
def config():
    return check(BASE)


@pytest.fixture(scope="module")
def job():
    return SweepJob(
        "news@sweep", "./lake", byte_tokenizer().to_json(), None, 0, (0, 0), MARKS, 3, ("mine/2026-01",), 0.2, 0.5, 257
    )


def score_of(point, tokens):
    batch, lr = point["engine.batch_tokens"], point["optim.lr"]
    ideal = 4e-3 * math.sqrt(batch / 1024)
    return 2 + 0.1 * math.log(lr / ideal) ** 2 + 400 / math.sqrt(tokens) + 1e-5 * batch


def verdicts_of(key, point, marks):
    return [
        {
            "key": key,
            "mark": number,
            "tokens": tokens,
            "trained": tokens,
            "begun": 0,
            "score": score_of(point, tokens),
            "fresh": score_of(point, tokens),
            "old": None,
            "slices": {},
            "curve": [[t, 3 + 500 / math.sqrt(t)] for t in range(tokens // 2, tokens + 1, tokens // 8)],
            "train_seconds": 2.0,
            "judge_seconds": 0.5,
        }
        for number, tokens in enumerate(marks, start=1)
    ]


@pytest.fixture
def trials(config):
    found = []
    for number, point in enumerate(points(config)):
        made = trial_config(config, point, 0)
        trial = TrialResult(f"t{number:02d}", point, "finished" if number % 3 else "stopped")
        trial.batch_tokens, trial.lr = made.engine.batch_tokens, made.optim.lr
        trial.verdicts = verdicts_of(trial.key, point, MARKS if number % 3 else MARKS[: 1 + number % 2])
        found.append(trial)
    found.append(TrialResult("big", points(config)[0], "too large", "needs 90.0 GB, a trial has 80.0 GB"))
    return found


def test_the_table_ranks_who_got_furthest_by_score_and_names_what_was_not_started(trials):
    ordered = trials_in_order(trials)
    finished = [t.last["score"] for t in ordered if t.verdicts and t.last["tokens"] == MARKS[-1]]
    assert finished == sorted(finished)
    assert ordered[-1].key == "big"
    lines = table_lines(ordered)
    assert len(lines) == 1 + len(trials)
    assert lines[1].split()[:2] == ["1", ordered[0].key]
    assert lines[-1].endswith("too large: needs 90.0 GB, a trial has 80.0 GB")
    assert "cosine" in lines[1] or "constant" in lines[1]


def test_best_yaml_is_a_configuration_for_a_run_with_the_best_settings(config, trials, tmp_path):
    best = best_of(trials)
    place = tmp_path / "best.yaml"
    place.write_text(best_yaml(best_values(config, best.point, 98304), best, "news@sweep"))
    read = read_config([str(place)])
    assert read.optim.lr == best.point["optim.lr"]
    assert read.engine.batch_tokens == best.point["engine.batch_tokens"]
    assert (read.name, read.engine.workers, read.sweep) == ("news-best", 2, None)
    assert (read.store, read.sources) == (config.store, config.sources)
    assert "sweep" not in yaml.safe_load(place.read_text())


def test_a_run_takes_best_yaml_whatever_schedule_won_and_its_end_is_told(config, trials, tmp_path):
    best, place = best_of(trials), tmp_path / "best.yaml"
    cosine = {**best.point, "optim.schedule.kind": "cosine"}
    assert trial_config(config, cosine, 1000).optim.schedule.tokens == 1000 + config.sweep.mark_tokens(64)[-1]
    place.write_text(best_yaml(best_values(config, cosine, 98304), best, "news@sweep"))
    assert read_config([str(place)]).optim.schedule.tokens == 98304
    assert read_config([str(place)], ["optim.schedule.tokens=5000"]).optim.schedule.tokens == 5000
    assert "# (its schedule ends after 98,304 tokens; for a longer run set optim.schedule.tokens)" in place.read_text()
    given = check({**BASE, "optim": {"schedule": {"tokens": 7000}}})
    assert best_values(given, cosine, 98304)["optim"]["schedule"] == {"kind": "cosine", "tokens": 7000}
    chosen = {**cosine, "optim.schedule.tokens": 9000}
    assert best_values(config, chosen, 98304)["optim"]["schedule"] == {"kind": "cosine", "tokens": 9000}


def test_the_summary_adds_up_and_finds_the_critical_batch(config, job, trials):
    found = summary(config, job, trials_in_order(trials), best_of(trials), 5000.0, 12.0)
    assert found["tokens"] == tokens_trained(trials) == sum(t.last["tokens"] for t in trials if t.verdicts)
    assert found["best"]["key"] == best_of(trials).key
    assert found["critical_batch"]["critical"] == 1024, "the larger batch costs 0.03 of 3.3"
    assert found["proposed_batches"] == [512, 1024, 2048]
    assert len(found["trials"]) == len(trials)


def test_the_way_of_a_population_is_told_from_donor_to_donor(config):
    first = TrialResult("g00m01", {"optim.lr": 0.02}, verdicts=verdicts_of("g00m01", points(config)[0], MARKS[:1]))
    last = TrialResult("g01m00", {"optim.lr": 0.01}, donor="g00m01")
    assert [step["config"]["optim.lr"] for step in history([last, first], last)] == [0.02, 0.01]


class Checker(HTMLParser):
    """Every opened tag is closed."""

    def __init__(self):
        super().__init__()
        self.open, self.text = [], ""

    def handle_starttag(self, tag, attrs):
        if tag != "meta":
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data


def test_the_report_is_whole_and_says_the_best(config, job, trials, tmp_path):
    ordered = trials_in_order(trials)
    found = summary(config, job, ordered, best_of(trials), 5000.0, 12.0)
    page = render_sweep(config, job, ordered, found)
    checker = Checker()
    checker.feed(page)
    assert checker.open == []
    assert brief(ordered[0].point) in checker.text
    assert "at equal tokens, is below 4,096 tokens (1,024: " in checker.text  # the smallest was compared with none
    assert page.count("<svg") >= 4
    assert "needs 90.0 GB" in checker.text


def test_a_report_without_a_verdict_says_so(config, job):
    empty = [TrialResult("a", points(config)[0], "failed", "<script>")]
    page = render_sweep(config, job, empty, summary(config, job, empty, None, None, 1.0))
    assert "No trial was judged yet." in page
    assert "<script>" not in page


def test_charts_draw_every_trial_and_cell():
    rows = [{"batch": 1024, "schedule": "wsd", "bits": 2.1}, {"batch": 4096, "schedule": "cosine", "bits": 2.5}]
    drawn = parallel(rows, ["batch", "schedule", "bits"], {"batch"}, label="all")
    assert drawn.count("stroke-width:3.0") == 1
    assert drawn.count("fill:none") == 2
    assert "cosine" in drawn
    cells = batch_and_rate({(1024, 1e-3): 2.0, (4096, 1e-3): 2.1}, {(1024, 1e-2): 6144}, label="map")
    assert cells.count('class="cell"') == 2, "a trial that was stopped has no score at these tokens"
    assert "2.100" in cells and "stopped at 6,144" in cells


def test_what_is_wrong_in_every_trial_is_told_once():
    wrong = check({**BASE, "sweep": {"space": {"optim.lrr": [1, 2, 3, 4, 5]}}})
    with pytest.raises(ConfigError) as told:
        check_points(wrong, points(wrong), 0)
    (sentence,) = str(told.value).splitlines()
    assert sentence.endswith(" is impossible: optim.lrr is unknown; did you mean optim.lr?")


def test_points_that_are_impossible_are_told_before_anything_starts(config):
    wrong = check({**BASE, "sweep": {"space": {"engine.batch_tokens": [1024, 1000]}}})
    with pytest.raises(ValueError, match=r"a trial with engine.batch_tokens=1000 is impossible: .*batch_tokens=1024"):
        check_points(wrong, points(wrong), 0)
    few = check({**BASE, "sweep": {"space": SPACE, "tokens": 100}})
    with pytest.raises(ConfigError, match=r"sweep.tokens=100 leaves no row of 64"):
        check_points(few, points(few), 0)
    large = check({**BASE, "sweep": {"space": {"engine.batch_tokens": [10880, 10944]}, "tokens": MARKS[-1]}})
    assert large.sweep.mark_tokens(64)[0] == 10880
    said = r"batch_tokens=10944 is impossible: .*10944 is more than the first mark of 10,880 tokens.* or fewer marks"
    with pytest.raises(ConfigError, match=said):
        check_points(large, points(large), 0)
    fixed = check(
        {**BASE, "engine": {"batch_tokens": 16384}, "sweep": {"space": {"optim.lr": [1]}, "tokens": MARKS[-1]}}
    )
    with pytest.raises(ConfigError, match=r"engine.batch_tokens=16384 is more than the first mark"):
        check_points(fixed, points(fixed), 0)
    moving = {"space": {"round.replay_share": [0.1, 0.2]}, "scheduler": "pbt"}
    with pytest.raises(ValueError, match=r"round.replay_share cannot change in the middle of training"):
        check_points(check({**BASE, "sweep": moving}), [], 0)


def test_the_same_name_goes_on_with_the_same_question_only(config, tmp_path):
    store = make_lake(tmp_path).store
    fix_question(store, "news@sweep", question(config, None))
    store.write("runs/news@sweep/job.json", b"{}")
    fix_question(store, "news@sweep", question(config, None))
    fix_question(store, "news@sweep", question(check({**BASE, "wandb": {"mode": "disabled"}}), None))
    for change, named in (
        ({"optim": {"lr": 0.5}}, "optim.lr=0.5 differs from 0.0003"),
        ({"sweep": {**BASE["sweep"], "reduction": 4}}, "sweep.reduction=4 differs from 3"),
    ):
        with pytest.raises(ValueError, match=named):
            fix_question(store, "news@sweep", question(check({**BASE, **change}), None))
