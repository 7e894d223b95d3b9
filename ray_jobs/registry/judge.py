"""Which checkpoint is in service, and when does another take its place?

The champion is one small file, replaced atomically; every decision is kept beside it with its reasons, so it can be
explained and moved back. `judge` scores candidate and champion on the same held-out documents and asks the gate.
"""

import logging
from collections.abc import Callable
from typing import Any

from cluster.storage.store import Store
from data_ops.lake.lake import Lake
from ray_jobs.checkpoints import manifest as commits
from ray_jobs.checkpoints.champion import read_champion
from ray_jobs.config.schema import Config
from ray_jobs.evaluation.fresh_slices import fresh_slices
from ray_jobs.evaluation.gate import Guard, decide
from ray_jobs.evaluation.tasks.held_out_bits import bits_of
from ray_jobs.evaluation.tasks.tasks import further_tasks
from ray_jobs.outcome import ConfigError
from ray_jobs.registry.champion import Verdict, champion_name, promote
from ray_jobs.registry.scoring import scores_of, task_scores

logger = logging.getLogger(__name__)


def judge_and_promote(
    config: Config,
    tokenizer_json: str,
    candidate: commits.Commit,
    details: dict[str, Any],
    held: Callable[[], bool] = lambda: True,
) -> Verdict:
    """Judge a candidate and do what the verdict says; again, if meanwhile another one became the champion.

    held: whether who asks still may. RuntimeError if not; nothing is written then.
    """
    store = Store.open(config.store)
    while True:
        verdict = judge(config, tokenizer_json, candidate)
        if not held():
            raise RuntimeError(f"run {config.name} was taken over by another driver; {candidate.name} is not promoted")
        if promote(store, candidate, verdict, details):
            return verdict


def judge(config: Config, tokenizer_json: str, candidate: commits.Commit) -> Verdict:
    """Score candidate and champion (or the untrained model) on all held-out documents."""
    store = Store.open(config.store)
    champion = champion_name(store)
    lake = Lake(store)
    reference = champion if champion != candidate.name else _before(store)
    in_service = _in_service(store, reference)
    after = scores_of(config, tokenizer_json, candidate.name)
    before = scores_of(config, tokenizer_json, reference)
    decision = decide(
        bits_of(after),
        bits_of(before) if reference else None,
        config.gate,
        fresh_slices=fresh_slices(lake, config.evaluate.period, in_service),
        untrained=None if reference else bits_of(before),
        tasks=_guards(config, tokenizer_json, candidate.name, reference),
    )
    return Verdict(decision, before, after, champion, reference)


def _guards(config: Config, tokenizer_json: str, candidate: str, reference: str | None) -> dict[str, Guard]:
    """Ask candidate and champion the further tasks; a first champion is asked none, because there is nobody to beat."""
    tasks = further_tasks(config.evaluate)
    if reference is None or not tasks:
        return {}
    after, before = (task_scores(config, tokenizer_json, name) for name in (candidate, reference))
    return {name: Guard(after[name], before[name], task.margin) for name, task in tasks.items()}


def _before(store: Store) -> str | None:
    """What was in service before the champion, if it is still there.

    A candidate that is in service unjudged was put there by a driver that ended before it wrote the verdict down.
    """
    name = (read_champion(store) or {}).get("previous")
    try:
        return commits.by_name(store, name).name if name else None
    except FileNotFoundError:
        return None


def _in_service(store: Store, name: str | None) -> commits.Commit | None:
    """The champion's manifest; ConfigError if somebody deleted it."""
    if name is None:
        return None
    try:
        return commits.by_name(store, name)
    except FileNotFoundError:
        raise ConfigError(
            f"the champion {name} is no longer in {store.uri}; put another checkpoint in service: "
            "headrace promote --to RUN/STEP"
        ) from None
