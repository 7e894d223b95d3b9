"""How is a candidate put in service, and where is the decision written?"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import msgspec
import pyarrow as pa

from cluster.storage.state import publish_json, read_json, write_json
from cluster.storage.store import Store
from ray_jobs.checkpoints import manifest as commits
from ray_jobs.checkpoints.champion import DriftReference, InService, read_champion
from ray_jobs.evaluation.decision import Decision, DecisionRow
from ray_jobs.outcome import ConfigError
from ray_jobs.registry.asks import naming
from ray_jobs.store.paths import CHAMPION, by_hand_path, decision_path, former_path


class Verdict(NamedTuple):
    """The gate's word on a candidate, the champion then, what was compared with, and the figures, if seen now."""

    decision: Decision
    champion: str | None
    reference: str | None  # the champion, or the one before if that is the candidate; None: the untrained model
    candidate: str
    ask: str | None = None  # path of the reservation
    drift: DriftReference | None = None  # what a promoted candidate goes on with
    before: pa.Table | None = None
    after: pa.Table | None = None


@dataclass(frozen=True)
class Opponent:
    """What candidates are compared with: the champion, the one before it if they are in service, or nothing."""

    in_service: str | None
    commit: commits.Commit | None = None
    sha256: str | None = None  # of its weights; None: not written down
    reference: DriftReference | None = None

    @property
    def name(self) -> str | None:
        """Name of the checkpoint; None: the untrained model."""
        return self.commit.name if self.commit else None


class DecisionFile(msgspec.Struct):
    """What the file of a decision holds, beside what the champion pointer does."""

    decision: DecisionRow


def read_decision(store: Store, checkpoint: str) -> DecisionRow | None:
    """Read the last verdict on a checkpoint (run/step); None where there was none. Raises DamagedError."""
    try:
        return read_json(store, decision_path(checkpoint), DecisionFile).decision
    except FileNotFoundError:
        return None


def is_judged(store: Store, candidate: commits.Commit) -> bool:
    """Was there a verdict on this checkpoint?"""
    return store.exists(decision_path(candidate.name))


def promote(store: Store, candidate: commits.Commit, verdict: Verdict, details: Mapping[str, object]) -> bool:
    """Write the decision down and, if it says so, move the champion pointer; False if that has moved meanwhile.

    ConfigError if the candidate was deleted while it was judged, as a run that is live does with its older ones.
    """
    if champion_name(store) != verdict.champion:
        return False
    if verdict.decision.verdict == "not asked":
        return True
    fixed = {"checkpoint": candidate.name, "decided": time.time(), "previous": verdict.reference}
    entry = msgspec.convert({**details, **fixed}, InService)
    entry = msgspec.structs.replace(entry, ask=verdict.ask, reference=verdict.drift)
    record = {**msgspec.to_builtins(entry), "decision": verdict.decision.to_dict()}
    if verdict.decision.promoted:
        put_in_service(store, entry)
    write_json(store, decision_path(candidate.name), record)
    return True


def opponent_of(store: Store, candidates: Sequence[str]) -> Opponent:
    """Find what candidates are compared with.

    One that is in service unjudged was put there by hand, or by a driver of an older version that ended before it wrote
    the verdict down. ConfigError if somebody deleted the champion.
    """
    champion = read_champion(store)
    if champion is None:
        return Opponent(None)
    name, sha256, reference = champion.checkpoint, champion.weights_sha256, champion.reference
    if name not in candidates:
        return Opponent(name, _kept(store, name), sha256, reference)
    try:
        before = commits.by_name(store, champion.previous) if champion.previous else None
    except FileNotFoundError:
        before = None
    return Opponent(name, before, None, reference if before else None)


def put_in_service_by_hand(
    store: Store, checkpoint: str, *, new_reference: bool, reason: str | None = None
) -> InService:
    """Move the pointer without the gate. The drift reference stays, unless it is to begin anew.

    reason: why a canary moved it back; None: somebody did it.
    """
    before = read_champion(store)
    reference = before.reference if before else None
    if before is not None and reference is not None:
        named = naming(store, before.checkpoint, reference.figures)
        reference = msgspec.structs.replace(reference, asks={name: n + named for name, n in reference.asks.items()})
    entry = InService(
        checkpoint=checkpoint,
        decided=time.time(),
        previous=before.checkpoint if before else None,
        by_hand=True,
        reason=reason,
        reference=None if new_reference else reference,
    )
    put_in_service(store, entry)
    return entry


def put_base_in_service(store: Store, checkpoint: str) -> None:
    """Make the weights that a run begins with the first champion, which its first candidate is judged against.

    Another champion that came meanwhile stays.
    """
    publish_json(store, CHAMPION, InService(checkpoint=checkpoint, decided=time.time()))


def champion_name(store: Store) -> str | None:
    """Name of the checkpoint in service, None before the first promotion."""
    champion = read_champion(store)
    return None if champion is None else champion.checkpoint


def put_in_service(store: Store, entry: InService) -> None:
    """Move the pointer, from when on no commit lets that checkpoint go; back again if one just did.

    What was in service is written down first, once, so that no champion is missing in the list of them, whatever kill.
    """
    before = read_champion(store)
    if before is not None:
        publish_json(store, former_path(before.checkpoint, before.decided), before)
    if entry.by_hand:
        write_json(store, by_hand_path(entry.checkpoint), entry)
    write_json(store, CHAMPION, entry)
    try:
        commits.by_name(store, entry.checkpoint)
    except FileNotFoundError:
        if before is None:
            store.delete(CHAMPION)
        else:
            write_json(store, CHAMPION, before)
        raise ConfigError(
            f"checkpoint {entry.checkpoint} was let go while it was judged, for its run goes on; "
            "promote a newer one, or raise checkpoint.keep"
        ) from None


def _kept(store: Store, name: str) -> commits.Commit:
    try:
        return commits.by_name(store, name)
    except FileNotFoundError:
        raise ConfigError(
            f"the champion {name} is no longer in {store.uri}; put another checkpoint in service: "
            "headrace promote --to RUN/STEP"
        ) from None
