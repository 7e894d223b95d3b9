"""Is the gate asked beside training, one judgement at a time, and does nothing that goes wrong there end a run?"""

import threading
from types import SimpleNamespace
from typing import Any

import pytest

from cluster.storage.store import Store
from ray_jobs.checkpoints import manifest as commits
from ray_jobs.checkpoints.position import Judgement
from ray_jobs.config.schema import Config
from ray_jobs.driver.judging import Bench, Heard, Judging, verdict_events
from ray_jobs.evaluation.decision import Decision
from ray_jobs.registry.champion import Verdict
from ray_jobs.store.paths import decision_path
from ray_jobs.training.events import CandidateJudged
from tests.support.checkpoints import commit_at
from tests.support.runs import wait_until


def heard(step: int, word: Any = "promoted") -> Heard:
    candidate = commit_at("news@00000008", step, 0, 3)
    decision = Decision(word, [f"reason {number}" for number in range(9)])
    identity: Any = None
    return Heard(candidate, identity, Verdict(decision, "news/1", "news/1", candidate.name))


class Gate:
    """A gate that speaks when it is let, and fails on steps below zero."""

    def __init__(self) -> None:
        self.asked: list[int] = []
        self.open = threading.Event()
        self.told: list[Any] = []

    def hear(self, step: int) -> Heard:
        self.asked.append(step)
        assert self.open.wait(30)
        if step < 0:
            raise OSError("the network failed")
        return heard(step)


def wait(happened: Any) -> None:
    wait_until(happened, 30, lambda: "it did not happen")


def test_while_the_gate_thinks_only_the_newest_judgement_waits() -> None:
    gate = Gate()
    judging = Judging(gate.hear, gate.told.extend)
    judging.made(1)
    wait(lambda: gate.asked == [1])
    judging.made(2)
    judging.made(3)
    gate.open.set()
    wait(lambda: len(gate.told) == 2)
    judging.end()
    assert gate.asked == [1, 3]
    assert [event.step for event in gate.told] == [1, 3]


def test_the_last_judgement_is_heard_once_whether_it_was_heard_before_or_not() -> None:
    gate = Gate()
    gate.open.set()
    judging = Judging(gate.hear, gate.told.extend)
    judging.made(1)
    wait(lambda: len(gate.told) == 1)
    judging.end()
    assert judging.conclude(1).candidate.step == 1 and gate.asked == [1]
    assert judging.conclude(9).candidate.step == 9 and gate.asked == [1, 9]


def test_what_keeps_the_gate_from_speaking_is_told_and_the_next_one_is_heard() -> None:
    gate = Gate()
    gate.open.set()
    judging = Judging(gate.hear, gate.told.extend)
    judging.made(-1)
    wait(lambda: len(gate.told) == 1)
    assert gate.told[0].text == "the candidate at step -1 was not judged: the network failed"
    judging.made(2)
    wait(lambda: len(gate.told) == 2)
    judging.end()


def test_a_stop_does_not_wait_for_the_gate_and_says_nothing_more() -> None:
    gate = Gate()
    judging = Judging(gate.hear, gate.told.extend)
    judging.made(-1)
    wait(lambda: gate.asked == [-1])
    judging.end(at_once=True)
    gate.open.set()
    assert judging.thread is not None
    judging.thread.join(30)
    assert gate.told == []


def test_a_verdict_is_told_with_the_reasons_that_decided() -> None:
    (event,) = verdict_events(heard(3, "not asked"))
    assert isinstance(event, CandidateJudged)
    assert (event.verdict, event.promoted, event.previous) == ("not asked", False, "news/1")
    assert verdict_events(heard(3)._replace(verdict=None)) == []
    assert event.reasons == ("reason 0", "reason 1", "reason 2", "reason 3")


@pytest.fixture
def bench(tmp_path: Any) -> Bench:
    opened: Any = SimpleNamespace(store=Store.open(str(tmp_path)))
    return Bench(Config(name="news", store=str(tmp_path)), opened, lambda: True, lambda window: "")


def test_what_left_the_main_line_is_up_for_promotion_else_the_main_line_itself(bench: Bench) -> None:
    store = bench.opened.store
    for one in (commit_at("news", 8, 2), commit_at("news@00000008", 8), commit_at("news@00000008", 11, 0, 3)):
        commits.publish(store, one)
    assert [one.name for one in bench.candidates(8)] == ["news@00000008/00000008", "news@00000008/00000011"]
    commits.publish(store, commit_at("news", 9, 2, 1))
    assert [one.name for one in bench.candidates(9)] == ["news/00000009"]


def test_a_start_asks_about_the_newest_judgement_of_its_run_if_nobody_has(bench: Bench) -> None:
    store = bench.opened.store
    assert bench.waiting() is None
    for run, step in (("news@00000008", 11), ("news@00000020", 23), ("newsy@00000090", 99)):
        commits.publish(store, commit_at(run, step, 0, 3))
    store.write("runs/news@00000030/evaluations/00000033.arrow", b"of a branch that was not committed")
    assert bench.waiting() == 20
    store.write(decision_path("news@00000020/00000023"), b"{}")
    assert bench.waiting() is None, "an older one has seen less"


def test_a_judgement_that_the_workers_go_on_with_is_not_heard_by_halves(bench: Bench) -> None:
    store = bench.opened.store
    judged = Judgement(8, 2, 8192, 1.0, decay_tokens=3072, averages=True)
    for one in (commit_at("news", 8, 2, judged=judged), commit_at("news@00000008", 8)):
        commits.publish(store, one)
    assert bench.waiting() is None, "the decay is missing"
    commits.publish(store, commit_at("news@00000008", 11, 0, 3))
    assert bench.waiting() == 8
