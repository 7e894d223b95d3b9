"""Is every ask counted once, whatever is killed, raced, repeated or moved back in between?"""

from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cluster.storage.store import Store
from ray_jobs.checkpoints.champion import DriftReference
from ray_jobs.config.blocks import EvaluateConfig, GateConfig
from ray_jobs.evaluation.decision import Decision
from ray_jobs.registry.asks import (
    Ask,
    Question,
    Rules,
    Ruling,
    Weights,
    answer,
    answer_to,
    asks,
    changed_rules,
    naming,
    reserve,
)

RULES = Rules.of(GateConfig(), EvaluateConfig())
X = "news-00000005-abcdef012345"
NO = Ruling(decisions=(Decision("refused", ["why"]),), chosen=0)


def question(name: str = "news/00000009", window: int = 3, fresh: int = 5000, rules: Rules = RULES) -> Question:
    return Question(X, (Weights(name, "00" * 32),), window, rules, fresh)


def asked(store: Store, wanted: Question) -> Ask:
    ask = reserve(store, wanted)
    assert isinstance(ask, Ask)
    return ask


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open(str(tmp_path))


def test_the_first_ask_is_the_first_and_a_repeat_of_it_is_the_same(store: Store) -> None:
    first = asked(store, question())
    assert (first.ask, first.level) == (1, pytest.approx(0.0237, abs=1e-4))
    answer(store, first, NO)
    assert asked(store, question()) == first and answer_to(store, first) == NO
    assert len(asks(store, X)) == 1


def test_newer_documents_or_another_rule_are_another_ask(store: Store) -> None:
    answer(store, asked(store, question()), NO)
    answer(store, asked(store, question(window=4)), NO)
    other = Rules.of(GateConfig(old_margin=0.02), EvaluateConfig())
    third = asked(store, question(rules=other))
    assert third.ask == 3 and changed_rules(store, third) == "gate.old_margin was 0.01 at ask 1, now it is 0.02"
    assert changed_rules(store, asks(store, X)[1]) is None


def test_an_ask_left_without_an_answer_is_finished_on_the_snapshot_it_names(store: Store) -> None:
    left = asked(store, question(window=3))
    assert asked(store, question(window=7)) == left
    answer(store, left, NO)
    assert asked(store, question(window=7)).ask == 2


def test_too_few_documents_are_not_asked_and_nothing_is_written(store: Store) -> None:
    said = reserve(store, question(fresh=20))
    assert isinstance(said, Decision) and said.sentence == "not asked: 20 fresh held-out documents; 12 more are needed"
    assert store.list() == []


def test_a_first_champion_is_asked_about_with_few_documents(store: Store) -> None:
    first = Question("untrained", question().candidates, 3, RULES, 5)
    assert isinstance(reserve(store, first), Ask)
    few = Question("untrained", (Weights("a/1", "0"),), 3, RULES, 4)
    said = reserve(store, few)
    assert isinstance(said, Decision) and said.sentence == "not asked: 4 fresh held-out documents; 1 more are needed"


def test_who_loses_the_race_takes_the_next_number(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    publish, raced = Store.publish, list[str]()

    def slow(self: Store, path: str, data: bytes) -> bool:
        if not raced:
            raced.append(path)
            asked(store, question("wire/00000001"))
        return publish(self, path, data)

    monkeypatch.setattr(Store, "publish", slow)
    assert asked(store, question()).ask == 2
    assert [ask.candidates[0].name for ask in asks(store, X)] == ["wire/00000001", "news/00000009"]


def test_of_two_answers_the_first_counts(store: Store) -> None:
    ask = asked(store, question())
    yes = Ruling(decisions=(Decision("promoted", ["why"]),), chosen=0)
    assert answer(store, ask, NO) == NO == answer(store, ask, yes)


def test_asks_of_a_drift_reference_go_on_where_they_stood(store: Store) -> None:
    kept = DriftReference("registry/reference/a/1.arrow", {"wire": 4, "help": 0}, {})
    for number in range(3):
        wanted = question(f"news/{number:08d}")
        ask = asked(store, Question(X, wanted.candidates, 3, RULES, 5000, kept))
        assert ask.drift_asks == {"wire": 5 + number, "help": 1 + number}
    assert naming(store, "news/00000005", kept.figures) == 3
    assert naming(store, "news/00000005", "another") == naming(store, "news/0000000", kept.figures) == 0


class KilledError(Exception):
    """The process ends here."""


def killed_after(writes: int) -> Callable[[], None]:
    """Return what raises at the (writes + 1)-th call."""
    left = [writes]

    def write() -> None:
        left[0] -= 1
        if left[0] < 0:
            raise KilledError

    return write


MOMENTS = st.tuples(
    st.integers(0, 3),  # which candidate
    st.integers(0, 2),  # on which snapshot
    st.booleans(),  # by another rule
    st.integers(0, 4),  # writes before the process is killed: 0 before the reservation, 1 before the answer
)


@settings(max_examples=40, deadline=None)
@given(st.lists(MOMENTS, max_size=12))
def test_whatever_is_killed_repeated_or_changed_the_count_is_that_of_the_questions(
    moments: list[tuple[int, int, bool, int]],
) -> None:
    with TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patched:
        store, publish = Store.open(folder), Store.publish
        open_asks: dict[int, tuple[int, bool]] = {}
        done: set[tuple[int, int, bool]] = set()
        for candidate, window, changed, writes in moments:
            step = killed_after(writes)

            def write(self: Store, path: str, data: bytes, step: Callable[[], None] = step) -> bool:
                step()
                return publish(self, path, data)

            patched.setattr(Store, "publish", write)
            rules = Rules.of(GateConfig(old_margin=0.02), EvaluateConfig()) if changed else RULES
            wanted = (window, changed)
            try:
                ask = asked(store, question(f"news/{candidate:08d}", window, rules=rules))
                repeated = (candidate, *wanted) in done
                if not repeated:
                    open_asks.setdefault(candidate, wanted)
                if answer_to(store, ask) is None:
                    answer(store, ask, NO)
                    done.add((candidate, *open_asks.pop(candidate)))
            except KilledError:
                if writes >= 1 and (candidate, *wanted) not in done:
                    open_asks.setdefault(candidate, wanted)
        found = asks(store, X)
        assert [ask.ask for ask in found] == list(range(1, len(found) + 1))
        assert len(found) == len(done) + len(open_asks)
        assert sum(ask.level for ask in found) <= 0.05
