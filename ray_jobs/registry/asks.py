"""How often was something asked against a champion, and what was the answer?

An ask is reserved before a figure of the candidate is compared with the champion's: `registry/asks/<X>/<k>.json`, made
once; its verdict is `<k>.verdict.json`, made once. X is the champion's name and weights, so k counts over all runs,
processes and kills, and over all times that X was in service; there is no counter that could be reset.
"""

import time
from dataclasses import dataclass
from typing import Any

import msgspec

from cluster.storage.state import publish_json, read_json
from cluster.storage.store import Store
from ray_jobs.checkpoints.champion import DriftReference
from ray_jobs.config.blocks import EvaluateConfig, GateConfig
from ray_jobs.evaluation.bounds import level_of
from ray_jobs.evaluation.decision import Decision, not_asked

ASKS = "registry/asks"
UNTRAINED = "untrained"


class Weights(msgspec.Struct, frozen=True):
    """A checkpoint by name and content."""

    name: str
    sha256: str

    @property
    def key(self) -> str:
        """Name of its folder of asks."""
        return f"{self.name.replace('/', '-')}-{self.sha256[:12]}"


class Rules(msgspec.Struct, frozen=True):
    """The settings that a verdict hangs on."""

    gate: dict[str, Any]
    evaluate: dict[str, Any]

    @staticmethod
    def of(gate: GateConfig, evaluate: EvaluateConfig) -> "Rules":
        """Take them from a configuration."""
        unset = () if evaluate.steer else ("steer",)  # as in the asks of older versions
        return Rules(gate.model_dump(mode="json"), evaluate.model_dump(mode="json", exclude={"every_rounds", *unset}))

    @property
    def alpha(self) -> float:
        """What all asks against a champion may spend together."""
        return 1 - GateConfig.model_validate(self.gate).confidence


class Ask(msgspec.Struct, frozen=True, kw_only=True):
    """A reservation: these candidates are compared with this champion on this snapshot, by these rules."""

    ask: int
    against: str
    candidates: tuple[Weights, ...]
    last_window: int
    rules: Rules
    level: float
    reference: str | None = None  # path of the drift reference's figures
    drift_asks: dict[str, int] = {}
    run: str = ""
    asked: float = 0.0

    @property
    def path(self) -> str:
        """Where the reservation is kept."""
        return f"{ASKS}/{self.against}/{self.ask}.json"

    @property
    def answer_path(self) -> str:
        """Where its verdict is kept."""
        return f"{ASKS}/{self.against}/{self.ask}.verdict.json"


@dataclass(frozen=True)
class Question:
    """What is to be asked. fresh_documents: how many there are; arrivals: held-out documents a day."""

    against: str
    candidates: tuple[Weights, ...]
    last_window: int
    rules: Rules
    fresh_documents: int
    reference: DriftReference | None = None
    arrivals: float = 0.0
    run: str = ""


class Ruling(msgspec.Struct, frozen=True, kw_only=True):
    """What an ask came to: the decision on each candidate, which of them is meant, and the reference to go on with."""

    decisions: tuple[Decision, ...]
    chosen: int
    reference: DriftReference | None = None
    decided: float = 0.0

    @property
    def decision(self) -> Decision:
        """The decision on the candidate that is meant."""
        return self.decisions[self.chosen]


def reserve(store: Store, question: Question) -> Ask | Decision:
    """Reserve the next ask, or return the earlier one that this question is, or the decision that nothing is asked.

    Earlier is one about the same candidates on the same snapshot by the same rules; or one about the same candidates
    that was left without an answer, by a kill: it is finished on the snapshot and by the rules that it names.
    """
    while True:
        earlier = asks(store, question.against)
        for ask in reversed(earlier):
            same = (ask.last_window, ask.rules) == (question.last_window, question.rules)
            if ask.candidates == question.candidates and (same or answer_to(store, ask) is None):
                return ask
        ask = _next(question, earlier)
        if nothing := not_asked(
            question.fresh_documents, ask.level, question.arrivals, is_first=question.against == UNTRAINED
        ):
            return nothing
        if publish_json(store, ask.path, ask):
            return ask


def _next(question: Question, earlier: list[Ask]) -> Ask:
    number, reference = len(earlier) + 1, question.reference
    named = sum(ask.reference == reference.figures for ask in earlier) if reference else 0
    return Ask(
        ask=number,
        against=question.against,
        candidates=question.candidates,
        last_window=question.last_window,
        rules=question.rules,
        level=level_of(number, question.rules.alpha, len(question.candidates)),
        reference=reference.figures if reference else None,
        drift_asks={name: spent + named + 1 for name, spent in reference.asks.items()} if reference else {},
        run=question.run,
        asked=time.time(),
    )


def answer_to(store: Store, ask: Ask) -> Ruling | None:
    """Read the verdict on an ask; None where there is none yet."""
    try:
        return read_json(store, ask.answer_path, Ruling)
    except FileNotFoundError:
        return None


def answer(store: Store, ask: Ask, said: Ruling) -> Ruling:
    """Write the verdict on an ask down, and return the one that counts: the first."""
    publish_json(store, ask.answer_path, said)
    return answer_to(store, ask) or said


def asks(store: Store, against: str) -> list[Ask]:
    """Every reservation against one champion, oldest first."""
    folder = f"{ASKS}/{against}"
    names = [path.rpartition("/")[2].removesuffix(".json") for path in store.list(folder)]
    numbers = sorted(int(name) for name in names if name.isdecimal())
    return [read_ask(store, f"{folder}/{number}.json") for number in numbers]


def read_ask(store: Store, path: str) -> Ask:
    """Read a reservation."""
    return read_json(store, path, Ask)


def changed_rules(store: Store, ask: Ask) -> str | None:
    """Tell which setting of the gate was another one at the first ask against this champion; the count went on."""
    first = read_ask(store, f"{ASKS}/{ask.against}/1.json").rules.gate
    for name, value in ask.rules.gate.items():
        if first.get(name) != value:
            return f"gate.{name} was {first.get(name)} at ask 1, now it is {value}"
    return None


def naming(store: Store, champion: str, figures: str) -> int:
    """Count the reservations against a checkpoint of that name, whatever its weights, that name a drift reference."""
    prefix = f"{ASKS}/{champion.replace('/', '-')}-"
    folders = {path.split("/")[2] for path in store.list(ASKS) if path.startswith(prefix)}
    return sum(ask.reference == figures for folder in folders for ask in asks(store, folder))
