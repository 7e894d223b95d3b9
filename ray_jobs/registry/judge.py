"""Which checkpoint is in service, and when does another take its place?

The champion is one small file, replaced atomically. `judge` reserves an ask against it (asks.py), scores candidates and
champion on the same held-out documents, and asks the gate; the verdict is written once, and then the pointer moves.
Killed anywhere, the same call goes on: with the reservation that has no verdict, or the verdict that moved nothing.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pyarrow as pa

from cluster.storage.store import Store
from data_ops.lake.lake import Lake
from ray_jobs.checkpoints import manifest as commits
from ray_jobs.checkpoints.champion import read_champion
from ray_jobs.config.blocks import EvaluateConfig, GateConfig
from ray_jobs.config.schema import Config
from ray_jobs.evaluation.decision import Decision
from ray_jobs.evaluation.gate import Against, Terms, best, decide
from ray_jobs.evaluation.guard import Guard
from ray_jobs.evaluation.held_out import steered
from ray_jobs.evaluation.judged_text import arrivals_a_day, given_until, judged_text
from ray_jobs.evaluation.tasks.held_out_bits import bits_of
from ray_jobs.evaluation.tasks.tasks import further_tasks, pinned
from ray_jobs.registry.asks import (
    UNTRAINED,
    Ask,
    Question,
    Rules,
    Ruling,
    Weights,
    answer,
    answer_to,
    changed_rules,
    read_ask,
    reserve,
)
from ray_jobs.registry.champion import Opponent, Verdict, opponent_of, promote
from ray_jobs.registry.reference import read_figures, renew
from ray_jobs.registry.scoring import scores_of, task_scores, weights_of


@dataclass(frozen=True)
class Candidate:
    """A checkpoint up for promotion, with what is told of it where it is put in service."""

    commit: commits.Commit
    details: Mapping[str, Any]


def judge_and_promote(
    config: Config,
    tokenizer_json: str,
    candidates: Sequence[Candidate],
    held: Callable[[], bool] = lambda: True,
) -> Verdict:
    """Judge candidates and do what the verdict says; again, if meanwhile another one became the champion.

    Several are one ask: each is judged on all documents, at the level divided by their number. held: is the lease
    still ours? RuntimeError if not; nothing is promoted then.
    """
    store = Store.open(config.store)
    while True:
        verdict = judge(config, tokenizer_json, candidates)
        if not held():
            names = ", ".join(one.commit.name for one in candidates)
            raise RuntimeError(f"run {config.name} was taken over by another driver; {names} is not promoted")
        chosen = next(one for one in candidates if one.commit.name == verdict.candidate)
        if promote(store, chosen.commit, verdict, chosen.details):
            return verdict


def judge(config: Config, tokenizer_json: str, candidates: Sequence[Candidate]) -> Verdict:
    """Ask the gate about candidates, against the champion or the untrained model; or return what it said before."""
    store = Store.open(config.store)
    lake, names = Lake(store), [one.commit.name for one in candidates]
    if (earlier := _already_in_service(store, names)) is not None:
        return earlier
    opponent = opponent_of(store, names)
    question = _question(config, store, lake, opponent, candidates)
    ask = reserve(store, question)
    if isinstance(ask, Decision):
        return Verdict(ask, opponent.in_service, opponent.name, names[0])
    said, tables = answer_to(store, ask), None
    if said is None:
        hearing = Hearing(config, tokenizer_json, lake, opponent, ask, question.arrivals)
        found, tables = hearing.hold([one.commit for one in candidates])
        said = answer(store, ask, found)
    verdict = verdict_of(opponent, ask, said)
    return verdict if tables is None else verdict._replace(before=tables[0], after=tables[1][said.chosen])


def verdict_of(opponent: Opponent, ask: Ask, said: Ruling) -> Verdict:
    """Return what is acted upon, from what is written down."""
    name = ask.candidates[said.chosen].name
    return Verdict(said.decision, opponent.in_service, opponent.name, name, ask.path, said.reference)


@dataclass(frozen=True)
class Hearing:
    """One ask that has no verdict yet: what is compared, on which snapshot, by which rules."""

    config: Config
    tokenizer_json: str
    lake: Lake
    opponent: Opponent
    ask: Ask
    arrivals: float

    def hold(self, candidates: Sequence[commits.Commit]) -> tuple[Ruling, tuple[pa.Table, list[pa.Table]]]:
        """Score all on the same documents and let the gate decide; returns the figures too."""
        ask, store = self.ask, self.lake.store
        gate = GateConfig.model_validate(ask.rules.gate)
        evaluate = EvaluateConfig.model_validate(ask.rules.evaluate)
        text = judged_text(self.lake, ask.last_window, given_until(self.lake, self.opponent.commit), evaluate, gate)

        def scores(name: str | None) -> pa.Table:
            return scores_of(self.config, self.tokenizer_json, name, ask.last_window, text["id"].combine_chunks())

        unit = self.config.model.learns.measure
        after, before = [scores(one.name) for one in candidates], scores(self.opponent.name)
        drift = read_figures(store, ask.reference)
        tasks = [self._guards(one, evaluate) for one in candidates]
        terms = Terms(
            ask.ask,
            len(candidates),
            self.opponent.name,
            ask.drift_asks,
            self.arrivals,
        )
        decisions = [
            decide(
                bits_of(table, unit),
                bits_of(before, unit),
                text,
                terms,
                gate,
                Against(drift and bits_of(drift), guards),
            )
            for table, guards in zip(after, tasks, strict=True)
        ]
        if note := changed_rules(store, ask):
            decisions = [replace(one, reasons=[*one.reasons, note]) for one in decisions]
        chosen, reference = best(decisions), None
        if decisions[chosen].promoted:
            given = given_until(self.lake, candidates[chosen])
            tables = (before if self.opponent.name else None, after[chosen])
            reference = renew(store, ask, self.opponent.reference, tables, text, given)
        said = Ruling(decisions=tuple(decisions), chosen=chosen, reference=reference, decided=time.time())
        return said, (before, after)

    def _guards(self, candidate: commits.Commit, evaluate: EvaluateConfig) -> dict[str, Guard]:
        """Ask candidate and champion the further tasks; a first champion is asked none: there is nobody to beat."""
        tasks = further_tasks(evaluate)
        if self.opponent.name is None or not tasks:
            return {}
        config = self.config.model_copy(update={"evaluate": evaluate})
        after, before = (
            task_scores(config, self.tokenizer_json, name, self.ask.last_window)
            for name in (candidate.name, self.opponent.name)
        )
        return {name: Guard(after[name], before[name], task.margin) for name, task in tasks.items()}


def _question(
    config: Config, store: Store, lake: Lake, opponent: Opponent, candidates: Sequence[Candidate]
) -> Question:
    """What is to be asked on the snapshot of now. It looks at counts of documents only, never at figures."""
    last = lake.last_window()
    evaluate = pinned(config.evaluate, store).model_copy(update={"steer": steered(store)})
    text = judged_text(lake, last, given_until(lake, opponent.commit), evaluate, config.gate)
    return Question(
        against=UNTRAINED if opponent.commit is None else _weights(store, opponent.commit, opponent.sha256).key,
        candidates=tuple(_weights(store, one.commit, one.details.get("weights_sha256")) for one in candidates),
        last_window=last,
        rules=Rules.of(config.gate, evaluate),
        fresh_documents=sum(text["fresh"].to_pylist()),
        reference=opponent.reference,
        arrivals=arrivals_a_day(lake, last),
        run=config.name,
    )


def _weights(store: Store, commit: commits.Commit, sha256: str | None) -> Weights:
    return Weights(commit.name, sha256 or weights_of(store, commit))


def _already_in_service(store: Store, names: Sequence[str]) -> Verdict | None:
    """Return the verdict that put one of the candidates in service, if a driver ended before it wrote that down."""
    pointer = read_champion(store)
    if pointer is None or pointer.checkpoint not in names or pointer.ask is None:
        return None
    ask = read_ask(store, pointer.ask)
    said = answer_to(store, ask)
    if said is None:
        return None
    return Verdict(said.decision, pointer.checkpoint, pointer.previous, pointer.checkpoint, ask.path, said.reference)
