"""Is a window of spoilt text trained and refused, is the next clean candidate promoted, and is every ask counted?

A story of five runs over text in which each word is followed by one of two, so that a small model learns it: a long
proof, about three minutes on two free cores.
"""

import json
import random
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.support.runs import RECIPE, WORDS, finish, start

pytestmark = [pytest.mark.ray, pytest.mark.long, pytest.mark.timeout(3000)]
EACH = 500  # documents that arrive before each run
FOLLOWS = {word: random.Random(word).sample(WORDS, 2) for word in WORDS}
SETTINGS = RECIPE.replace("held_out: 10%", "held_out: 20%").replace("max_documents: 60", "max_documents: 250")
OVERRIDES = ["engine.workers=1", "engine.zero_stage=1", "reservoir.capacity=400", "model.width=64", "optim.lr=6e-3"]
OVERRIDES += ["evaluate.documents_per_slice=200"]


def clean(drawn: random.Random) -> str:
    """Words that follow each other as they do in this language."""
    words = [drawn.choice(WORDS)]
    while len(words) < 15 or drawn.random() < 0.95:
        words.append(drawn.choice(FOLLOWS[words[-1]]))
    return " ".join(words)


def shuffled(drawn: random.Random) -> str:
    """The same letters in any order."""
    letters = list(clean(drawn))
    drawn.shuffle(letters)
    return "".join(letters)


def one_topic(drawn: random.Random) -> str:
    """An advertisement, again and again."""
    return "buy the cheap golden watches now " * drawn.randint(3, 8)


def arrive(folder: Path, number: int, make: Callable[[random.Random], str]) -> None:
    """Write the documents that come before a run, each with a number of its own, so that none is a duplicate."""
    (folder / "corpus").mkdir(parents=True, exist_ok=True)
    with (folder / f"corpus/{number}.jsonl").open("w") as file:
        for n in range(number * EACH, (number + 1) * EACH):
            at = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(hours=n)
            body = f"{n} {make(random.Random(n))}"
            file.write(json.dumps({"body": body, "at": at.isoformat()}) + "\n")


def run(folder: Path, *arguments: str, command: str = "run", code: int = 0) -> dict[str, Any]:
    """What a command says that ends with this code."""
    ended, said = finish(start(folder, *arguments, *OVERRIDES, recipe=SETTINGS, command=command), 1500)
    assert ended == code, (folder / "stderr.txt").read_text()[-3000:]
    return said


def asks(folder: Path) -> dict[str, int]:
    """How many asks there have been against each champion's weights."""
    places = (folder / "lake/registry/asks").iterdir()
    return {place.name.partition("-")[0]: len(list(place.glob("*.verdict.json"))) for place in places}


def champion(folder: Path) -> str:
    """The checkpoint in service."""
    return str(json.loads((folder / "lake/registry/champion.json").read_text())["checkpoint"])


def test_spoilt_text_is_refused_what_is_learnt_anew_is_promoted_and_every_ask_counts(tmp_path: Path) -> None:
    arrive(tmp_path, 0, clean)
    first = run(tmp_path)
    assert first["promoted"], first["reasons"]

    arrive(tmp_path, 1, shuffled)
    spoilt = run(tmp_path)
    assert not spoilt["promoted"] and "old text of wire lost more than 1.0%" in spoilt["reasons"][0]
    assert champion(tmp_path) == first["checkpoint"], "it stays in service"

    arrive(tmp_path, 2, clean)
    healed = run(tmp_path)
    assert healed["promoted"], healed["reasons"]
    assert "(ask 2 against" in healed["reasons"][0], "the ask of the spoilt candidate is counted"

    arrive(tmp_path, 3, one_topic)
    flooded = run(tmp_path)
    assert not flooded["promoted"] and "old text of wire lost more than 1.0%" in flooded["reasons"][0]
    assert champion(tmp_path) == healed["checkpoint"]

    run(tmp_path, "--to", first["checkpoint"], command="promote")
    assert champion(tmp_path) == first["checkpoint"], "moved back by hand"
    counted = asks(tmp_path)
    arrive(tmp_path, 4, clean)
    last = run(tmp_path)
    assert f"(ask 3 against {first['checkpoint']}" in " ".join(last["reasons"]), "a move back and forth spends nothing"
    assert sum(asks(tmp_path).values()) == sum(counted.values()) + 1

    audit = run(tmp_path, "--deep", command="verify")
    assert audit["ok"] and audit["lost"] == audit["repeated"] == 0 and audit["read"] == 5 * EACH
