"""How does a test put checkpoints in service, by the product's own functions and without a lake?"""

import time
from collections.abc import Mapping

from cluster.storage.store import Store
from ray_jobs.cards.facts import CheckpointFacts, Forgetting
from ray_jobs.checkpoints import manifest as commits
from ray_jobs.evaluation.decision import Decision, SliceResult
from ray_jobs.registry.champion import Verdict, champion_name, promote
from tests.support.checkpoints import commit_at

#: What is known of a checkpoint of which nothing is written down but its name.
FACTS = CheckpointFacts(
    name="news/00000005",
    main="news",
    service=None,
    committed=None,
    state=None,
    is_kept=True,
    stretches=(),
    rounds=0,
    last_window=-1,
    mixture=None,
    sample=None,
    origin=None,
    forgetting=Forgetting(0, 0),
)


def commit(store: Store, run: str, step: int, **more: object) -> commits.Commit:
    """Commit a checkpoint that may be put in service."""
    done = commit_at(run, step, 0, step, **more)
    commits.publish(store, done)
    return done


def slice_result(name: str, after: float, before: float = 2.0) -> SliceResult:
    """What a slice came to."""
    change = after - before
    return SliceResult(name, "fresh", 40, 4000, before, after, change, change - 0.1, change + 0.1, "better")


def promoted(store: Store, done: commits.Commit, reason: str, details: Mapping[str, object] | None = None) -> None:
    """Let the gate's word put a checkpoint in service, as a driver of an older version wrote it: without an ask."""
    before = champion_name(store)
    decision = Decision(
        "promoted", [reason], [slice_result("wire/2026-01", 1.5)], against=before or "the untrained model"
    )
    time.sleep(0.002)  # so that no two have the same microsecond
    assert promote(store, done, Verdict(decision, before, before, done.name), details or {})
