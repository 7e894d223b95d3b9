"""Does the table of a sweep ask for what is right, and say of every trial what the store says?"""

import json
from types import SimpleNamespace

import pytest

from cluster.storage.store import Store
from data_ops.documents.tokenizer import byte_tokenizer
from ray_jobs.config.reading import check
from ray_jobs.sweep.capacity import Room
from ray_jobs.sweep.result import FAILED, FINISHED, IMPOSSIBLE, WAITING, table_lines, trials_in_order
from ray_jobs.sweep.table import Table, is_decided, keep_generation
from ray_jobs.sweep.trial.job import SweepJob, result_path
from ray_jobs.sweep.trial.recorded_rounds import Diet
from tune.policy import WORST, Member

MARKS = (1024, 2048, 3072)
SPACE = {"model.width": [16, 24], "model.heads": [2, 3]}
VERDICT = {"trained": 1024, "begun": 0, "fresh": None, "old": None, "slices": {}, "curve": [], "train_seconds": 1.0}


@pytest.fixture
def make(tmp_path):
    """Begin the sweep, or go on with it: a table over the same store."""

    def begin(**asked):
        config = check(
            {
                "name": "news",
                "store": str(tmp_path),
                "model": {"layers": 1, "width": 16, "heads": 2, "row_tokens": 16},
                "engine": {"batch_tokens": 64},
                "sweep": {"tokens": MARKS[-1], "space": SPACE, **asked},
            }
        )
        tokenizer = byte_tokenizer()
        shared = ("news@sweep", config.store, tokenizer.to_json(), None, 0, (0, 0), MARKS, 3, (), 0.2, 0.5, 257)
        table = Table(config, Store.open(config.store), SweepJob(*shared), Room(1, {"CPU": 1.0}, None, 1), print)
        table.diets = SimpleNamespace(of=lambda config: Diet("diet", (200,)))
        return table

    return begin


def judge(table, spec, mark, score):
    """A trial writes its verdict down, and the driver hears of it."""
    verdict = {"key": spec.key, "mark": mark, "tokens": MARKS[mark - 1], "score": score, **VERDICT}
    table.store.write(result_path(table.job.run, spec.key, mark), json.dumps(verdict).encode())
    return table.judged(spec, mark)


def test_settings_that_only_go_wrong_together_make_a_refused_trial(make, capsys):
    table = make(search="tpe")
    fine, wrong = ({"model.width": 16, "model.heads": heads} for heads in (2, 3))
    assert table.of_point(fine).last == 3
    spec = table.of_point(wrong)
    assert (spec.last, table.trials[spec.key].state, table.known_score(spec)) == (0, IMPOSSIBLE, WORST)
    assert "a trial with model.heads=3, model.width=16 is impossible" in capsys.readouterr().out
    lines = table_lines(trials_in_order(list(table.trials.values())))
    assert "64" in lines[-1]
    assert "impossible: a trial with model.heads=3" in lines[-1]
    assert make(search="tpe").asked_before() == [fine, wrong]
    assert table.of_member(Member(1, 0, wrong, "g00m01")).last == 0


def test_a_member_that_failed_is_asked_for_again_until_the_next_generation_is_decided(make):
    member, asked = Member(0, 1, {"model.width": 16, "model.heads": 2}), {"scheduler": "pbt"}
    table = make(**asked)
    table.failed(table.trials[table.of_member(member).key], "row 3 is odd", keep=True)
    table = make(**asked)
    spec = table.of_member(member)
    assert (table.trials[spec.key].state, table.trials[spec.key].why) == (FAILED, "row 3 is odd")
    assert table.known_score(spec) is None
    successor = Member(1, 1, {"model.width": 24, "model.heads": 3}, "g00m00")
    assert keep_generation(table.store, "news@sweep", [successor]) == [successor]
    assert is_decided(table.store, "news@sweep", 1)
    other = Member(1, 1, member.point, "g00m01")
    assert keep_generation(table.store, "news@sweep", [other]) == [successor], "what was decided first stands"
    table = make(**asked)
    assert table.known_score(table.of_member(member)) == WORST
    assert table.trials["g00m01"].state == FAILED


def test_a_member_that_failed_once_and_was_judged_then_is_finished(make):
    member, asked = Member(0, 1, {"model.width": 16, "model.heads": 2}), {"scheduler": "pbt"}
    table = make(**asked)
    table.failed(table.trials[table.of_member(member).key], "row 3 is odd", keep=True)
    table = make(**asked)
    spec = table.of_member(member)
    assert judge(table, spec, 1, 2.5)
    assert not judge(table, spec, 1, 2.5), "it was known"
    table.end(table.trials[spec.key], 1)
    again = make(**asked)
    assert again.known_score(again.of_member(member)) == 2.5
    assert (again.trials[spec.key].state, again.trials[spec.key].why) == (FINISHED, "")


def test_what_diverged_counts_the_same_live_and_read_back(make):
    table = make(scheduler="asha")
    spec = table.of_point({"model.width": 16, "model.heads": 2})
    assert table.trials[spec.key].state == WAITING
    judge(table, spec, 3, None)
    assert table.known_score(spec) == WORST
    again = make(scheduler="asha")
    assert again.known_score(again.of_point({"model.width": 16, "model.heads": 2})) == WORST
