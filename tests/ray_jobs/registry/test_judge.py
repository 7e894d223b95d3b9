"""Is what goes into service there, judged against what was in service, and put there by who still may?"""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cluster.storage.store import Store
from data_ops.documents.frontier import Frontier
from ray_jobs.checkpoints import manifest as commits
from ray_jobs.checkpoints.champion import read_champion
from ray_jobs.commands.promote import promote_by_hand
from ray_jobs.config.blocks import GateConfig
from ray_jobs.evaluation.held_out import note_steered
from ray_jobs.outcome import ConfigError
from ray_jobs.registry.asks import asks
from ray_jobs.registry.champion import champion_name
from ray_jobs.registry.judge import Candidate, judge_and_promote
from ray_jobs.registry.reference import read_figures
from ray_jobs.store.paths import CHAMPION, decision_path
from tests.support.judging.court import Court

pytestmark = pytest.mark.slow


@pytest.fixture
def court(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Court:
    court = Court.open(Store.open(str(tmp_path)), monkeypatch)
    court.arrive()
    return court


def folders_of(court: Court) -> list[str]:
    """The names of the folders of asks."""
    return sorted({path.split("/")[2] for path in court.store.list("registry/asks")})


def folders(court: Court) -> dict[str, int]:
    """How many asks there were against each champion."""
    return {name.rpartition("-")[0] or name: len(asks(court.store, name)) for name in folders_of(court)}


def test_the_first_champion_beats_the_untrained_model_and_its_decision_is_kept(court: Court) -> None:
    done = court.train("news", 5, 0.0)
    verdict = court.ask(done)
    assert verdict.decision.promoted and champion_name(court.store) == done.name
    champion = read_champion(court.store)
    assert champion is not None and champion.ask == "registry/asks/untrained/1.json"
    kept = json.loads(court.store.read(decision_path(done.name)))
    assert (kept["checkpoint"], kept["previous"], kept["decision"]["verdict"]) == (done.name, None, "promoted")


def test_a_poisoned_window_is_trained_and_refused_and_the_next_clean_candidate_is_promoted(court: Court) -> None:
    first = court.train("news", 5, 0.0)
    court.ask(first)
    court.arrive()
    poisoned = court.train("news", 6, 0.4)
    assert court.ask(poisoned).decision.sentence.startswith("refused: fresh text got worse: +0.39")
    one_topic = court.train("news", 7, lambda windows: np.where(windows == 0, 0.3, -0.2))
    assert "got worse than the champion" in " ".join(court.ask(one_topic).decision.reasons)
    assert champion_name(court.store) == first.name
    clean = court.train("news", 8, -0.05)
    assert court.ask(clean).decision.promoted and champion_name(court.store) == clean.name
    court.arrive()
    promote_by_hand(court.config, first.name)
    assert champion_name(court.store) == first.name
    again = court.ask(court.train("news", 9, 0.0))
    assert again.decision.ask == 4, "what was asked before it was in service again counts"
    assert folders(court) == {"untrained": 1, "news-00000005": 4}


def test_the_same_question_again_is_answered_without_a_look_and_costs_nothing(court: Court) -> None:
    court.ask(court.train("news", 5, 0.0))
    court.arrive()
    neutral = court.train("news", 6, 0.0)
    first = court.ask(neutral)
    court.scored.clear()
    second = court.ask(neutral)
    assert first.decision == second.decision and not second.decision.promoted and court.scored == []
    other = court.config.model_copy(update={"gate": GateConfig(old_margin=0.02)})
    third = court.ask(neutral, config=other).decision
    assert third.ask == 2 and third.reasons[-1] == "gate.old_margin was 0.01 at ask 1, now it is 0.02"


def test_what_a_sweep_has_chosen_by_is_not_judged_by_from_then_on(court: Court) -> None:
    court.ask(court.train("news", 5, 0.0))
    court.arrive()
    whole = court.ask(court.train("news", 6, -0.1)).decision
    court.arrive()
    note_steered(court.store, 0.5)
    half = court.ask(court.train("news", 7, -0.2)).decision
    assert whole.fresh is not None and half.fresh is not None
    assert 0.3 < half.fresh.documents / whole.fresh.documents < 0.7
    rules = [ask.rules.evaluate.get("steer") for ask in (asks(court.store, name)[-1] for name in folders_of(court))]
    assert sorted(rules, key=str) == [0.5, None, None], "an ask without it is written as by older versions"


def test_a_small_arrival_is_not_asked_and_leaves_nothing(court: Court) -> None:
    court.ask(court.train("news", 5, 0.0))
    court.arrive(20)
    done = court.train("news", 6, -0.5)
    verdict = court.ask(done)
    assert verdict.decision.sentence.startswith("not asked: 20 fresh held-out documents; 12 more are needed")
    assert folders(court) == {"untrained": 1} and not court.store.exists(decision_path(done.name))
    court.arrive(20)
    assert court.ask(done).decision.promoted, "they gather while the champion serves"


def test_several_candidates_are_one_ask_and_the_best_is_promoted(court: Court) -> None:
    court.ask(court.train("news", 5, 0.0))
    court.arrive()
    asked = [court.train("news", step, bits) for step, bits in ((6, -0.03), (7, -0.06), (8, 0.2))]
    verdict = court.ask(*asked)
    assert verdict.candidate == asked[1].name == champion_name(court.store)
    assert folders(court)["news-00000005"] == 1


def test_a_champion_that_changed_meanwhile_is_judged_against(court: Court) -> None:
    mine, other = court.train("news", 5, 0.0), court.train("wire", 7, 0.3)
    scores = court.scores

    def while_scoring(*asked: Any) -> Any:
        if champion_name(court.store) is None:
            promote_by_hand(court.config, other.name)
        return scores(*asked)

    court.until[other.name] = Frontier()
    court.patched.setattr("ray_jobs.registry.judge.scores_of", while_scoring)
    verdict = court.ask(mine)
    assert (verdict.champion, champion_name(court.store)) == (other.name, mine.name)
    champion = read_champion(court.store)
    assert champion is not None and champion.previous == other.name


@pytest.mark.parametrize("before", [None, "wire/00000007"])
def test_what_was_let_go_while_it_was_judged_does_not_go_into_service(court: Court, before: str | None) -> None:
    other = court.train("wire", 7, 0.3)
    court.until[other.name] = Frontier()
    if before:
        promote_by_hand(court.config, before)
    done, scores = court.train("news", 5, 0.0), court.scores

    def while_scoring(*asked: Any) -> Any:
        court.store.delete("runs/news/checkpoints/00000005.json")
        return scores(*asked)

    court.patched.setattr("ray_jobs.registry.judge.scores_of", while_scoring)
    with pytest.raises(ConfigError, match="news/00000005 was let go while it was judged"):
        court.ask(done)
    assert champion_name(court.store) == before and not court.store.exists(decision_path(done.name))


def test_who_lost_the_run_while_it_was_judged_promotes_nothing(court: Court) -> None:
    done = court.train("news", 5, 0.0)
    with pytest.raises(RuntimeError, match="taken over"):
        judge_and_promote(court.config, "{}", [Candidate(done, {})], held=lambda: False)
    assert champion_name(court.store) is None
    court.scored.clear()
    assert court.ask(done).decision.promoted and court.scored == [], "who took over moves it without a second look"


def test_a_registry_of_an_older_version_opens_and_goes_on(court: Court) -> None:
    """Its champion names no ask and no reference, its decision was of another shape."""
    old = court.train("news", 5, 0.0)
    entry = {"checkpoint": old.name, "decided": 1.0, "previous": None, "weights_sha256": "ab" * 32, "last_window": 0}
    court.store.write(CHAMPION, json.dumps(entry).encode())
    court.store.write(
        decision_path(old.name), json.dumps({**entry, "decision": {"promoted": True, "slices": []}}).encode()
    )
    court.arrive()
    new = court.train("news", 6, -0.05)
    assert court.ask(new).decision.promoted
    champion = read_champion(court.store)
    assert champion is not None and champion.ask == "registry/asks/news-00000005-abababababab/1.json"
    figures = read_figures(court.store, champion.reference.figures)
    assert figures is not None and figures.num_rows == 600


def test_what_is_in_service_unjudged_is_judged_against_what_was_there_before(court: Court) -> None:
    old, new = court.train("news", 5, 0.0), court.train("news", 9, -0.05)
    court.until[old.name] = Frontier()
    promote_by_hand(court.config, old.name)
    promote_by_hand(court.config, new.name)
    verdict = court.ask(new)
    assert court.scored == [new.name, old.name] and verdict.reference == old.name
    assert champion_name(court.store) == new.name


def test_small_losses_add_up_until_the_drift_reference_stops_them(court: Court) -> None:
    """Each champion loses 0.7 % of old text to the one before it, which alone is within the margin."""
    court.ask(court.train("news", 5, 0.0))
    words = []
    for era in range(1, 8):
        court.arrive()

        def change(windows: np.ndarray, era: int = era) -> np.ndarray:
            return np.where(windows < era, 0.0126 * (era - windows - 1).clip(0) - 0.05 * (windows > 0), -0.05 * era)

        words.append(court.ask(court.train("news", 5 + era, change)).decision)
    assert words[0].promoted and not words[-1].promoted
    assert any("against the drift reference" in reason for word in words for reason in word.reasons)


def test_a_champion_that_somebody_deleted_is_said_in_a_sentence(court: Court) -> None:
    gone = court.train("wire", 7, 0.0)
    promote_by_hand(court.config, gone.name)
    court.store.delete("runs/wire/checkpoints/00000007.json")
    with pytest.raises(ConfigError, match=r"the champion wire/00000007 is no longer in .*headrace promote --to"):
        court.ask(court.train("news", 5, 0.0))


class KilledError(Exception):
    """The process ends here."""


@settings(max_examples=12, deadline=None)
@given(st.integers(0, 6), st.integers(0, 6))
def test_killed_between_any_two_writes_the_same_call_goes_on(first: int, second: int) -> None:
    from tempfile import TemporaryDirectory

    with TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patched:
        court = Court.open(Store.open(folder), patched)
        court.arrive()
        court.ask(court.train("news", 5, 0.0))
        court.arrive()
        better = court.train("news", 6, -0.05)
        write, publish = Store.write, Store.publish
        for writes in (first, second, 100):
            left = [writes]

            def alive(left: list[int] = left) -> None:
                left[0] -= 1
                if left[0] < 0:
                    raise KilledError

            patched.setattr(Store, "write", lambda *given, alive=alive: (alive(), write(*given))[1])
            patched.setattr(Store, "publish", lambda *given, alive=alive: (alive(), publish(*given))[1])
            try:
                verdict = court.ask(better)
            except KilledError:
                continue
        assert verdict.decision.promoted and champion_name(court.store) == better.name
        assert folders(court) == {"untrained": 1, "news-00000005": 1}
        assert court.store.exists(decision_path(better.name))
        assert commits.by_name(court.store, better.name).step == 6
