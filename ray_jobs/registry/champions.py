"""Which checkpoints were in service, since when, and by which decision?

The pointer (`checkpoints.champion`) names the one in service; each before it was written down when it was replaced
(`registry/former/`). Of a champion that an older version replaced there is still the decision that promoted it, the
note that somebody moved the pointer by hand, or at least its name, which its successor gives.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum

from cluster.storage.state import read_json
from cluster.storage.store import Store
from ray_jobs.checkpoints.champion import InService, read_champion
from ray_jobs.evaluation.decision import DecisionRow
from ray_jobs.outcome import ConfigError
from ray_jobs.registry.asks import Ask, answer_to, read_ask
from ray_jobs.registry.champion import read_decision
from ray_jobs.store.paths import BY_HAND, DECISIONS, FORMER

NAMED = 8


class How(StrEnum):
    """By what a checkpoint came into service."""

    PROMOTED = "promoted"
    BASE = "base"  # the weights that a run began with, where there was no champion
    BY_HAND = "by hand"
    ROLLBACK = "rollback"  # by hand, or by a canary, and it had been in service before


@dataclass(frozen=True)
class ServiceTime:
    """A checkpoint's time in service; one that came back has several.

    number: 1.. in the order of time. until_s: unix; None: it is in service now. ask, decision: by which its weights
    were promoted, now or, of a rollback, before; None where no gate was asked.
    """

    number: int
    entry: InService
    how: How
    until_s: float | None
    ask: Ask | None
    decision: DecisionRow | None

    @property
    def name(self) -> str:
        """The checkpoint, run/step."""
        return self.entry.checkpoint

    @property
    def reason(self) -> str:
        """In a sentence, why it came into service."""
        match self.how:
            case How.PROMOTED:
                return ((self.decision or {}).get("reasons") or ["its reason was not kept"])[0]
            case How.BASE:
                return "a run began with it, and there was no champion"
            case How.ROLLBACK:
                return self.entry.reason or "moved back by hand: headrace promote --to"
            case How.BY_HAND:
                return self.entry.reason or "moved by hand, unjudged: headrace promote --to"


def champions(store: Store) -> list[ServiceTime]:
    """Every time a checkpoint was in service, oldest first. Raises DamagedError where a file cannot be trusted."""
    present = read_champion(store)
    now = (present.checkpoint, present.decided) if present else None
    ordered = sorted(_entries(store).items(), key=lambda item: (item[0] == now, item[1].decided))
    entries = [entry for _, entry in ordered]  # the one in service last, also where clocks went apart
    found: list[ServiceTime] = []
    for number, entry in enumerate(entries, 1):
        ask, decision = _judged(store, entry)
        how = How.PROMOTED if decision else How.BASE
        if entry.by_hand:
            before = next((one for one in reversed(found) if one.name == entry.checkpoint), None)
            how = How.ROLLBACK if before else How.BY_HAND
            ask, decision = (before.ask, before.decision) if before else (None, None)
        until_s = entries[number].decided if number < len(entries) else None if now else entry.decided
        found.append(ServiceTime(number, entry, how, until_s, ask, decision))
    return found


def champion_meant(found: Sequence[ServiceTime], name: str | None) -> ServiceTime:
    """The champion that is meant: by its number, by RUN/STEP (its last time), or, unnamed, the one in service.

    Raises ConfigError where there is none such.
    """
    if name is None:
        present = next((one for one in found if one.until_s is None), None)
        if present is None:
            raise ConfigError("no checkpoint is in service yet; promote one: headrace promote, or --to RUN/STEP")
        return present
    for one in reversed(found):
        if name in (str(one.number), one.name, _short(one.name)):
            return one
    names = ", ".join(f"{one.number} ({one.name})" for one in found[-NAMED:])
    raise ConfigError(f"{name} is no champion of this store; there are {names or 'none'}")


def _short(name: str) -> str:
    """A checkpoint as people write it: run/245."""
    run, _, step = name.rpartition("/")
    return f"{run}/{int(step)}"


def _entries(store: Store) -> dict[tuple[str, float], InService]:
    """What was ever in service, each time once, by checkpoint and time; a time that nobody kept is 0."""
    found = {(entry.checkpoint, entry.decided): entry for entry in _kept(store)}
    named = {entry.previous for entry in found.values() if entry.previous} - {name for name, _ in found}
    return found | {(name, 0.0): InService(checkpoint=name) for name in named}


def _kept(store: Store) -> Iterator[InService]:
    for folder in (FORMER, BY_HAND):
        for path in store.list(folder):
            yield read_json(store, path, InService)
    for path in store.list(DECISIONS):
        entry = read_json(store, path, InService)
        if (read_decision(store, entry.checkpoint) or {}).get("promoted"):
            yield entry
    if (present := read_champion(store)) is not None:
        yield present


def _judged(store: Store, entry: InService) -> tuple[Ask | None, DecisionRow | None]:
    """The verdict that put it in service: that of its ask; in a store of an older version the file of its decision."""
    if entry.ask is not None:
        ask = read_ask(store, entry.ask)
        said = answer_to(store, ask)
        if said is not None:
            return ask, said.decision.to_dict()
    decision = None if entry.by_hand else read_decision(store, entry.checkpoint)
    return None, decision if decision and decision.get("promoted") else None
