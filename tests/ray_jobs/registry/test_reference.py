"""Does the drift reference move only where it is shown to be beaten, and does a document enter once?"""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from cluster.storage.store import Store
from data_ops.documents.frontier import Frontier
from data_ops.documents.place import Place
from ray_jobs.checkpoints.champion import DriftReference
from ray_jobs.config.blocks import EvaluateConfig, GateConfig
from ray_jobs.registry.asks import Ask, Question, Rules, Weights, reserve
from ray_jobs.registry.reference import read_figures, renew
from tests.support.judging.judged import held_out

RULES = Rules.of(GateConfig(), EvaluateConfig())
SOURCES = ("wire/2026-01", "help/2026-01")


def text_of(figures: pa.Table, fresh: float = 0.5) -> pa.Table:
    """The last so many documents are fresh, window 1; the others are window 0."""
    is_fresh = np.arange(figures.num_rows) >= figures.num_rows * (1 - fresh)
    places = {"window": is_fresh.astype(int), "position": np.arange(figures.num_rows)}
    days = [str(n) for n in range(figures.num_rows)]
    return pa.table(
        {
            "id": figures["id"],
            "source": pa.array(["a"] * figures.num_rows),
            "day": days,
            "fresh": pa.array(is_fresh),
            **places,
        }
    )


def ask(store: Store, name: str, reference: DriftReference | None) -> Ask:
    made = reserve(store, Question("x-1", (Weights(name, "0"),), 3, RULES, 5000, reference))
    assert isinstance(made, Ask)
    return made


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open(str(tmp_path))


def nats(store: Store, path: str) -> dict[bytes, float]:
    table = read_figures(store, path)
    assert table is not None
    return dict(zip(table["id"].to_pylist(), table["nats"].to_pylist(), strict=True))


def test_a_document_enters_with_the_figures_of_the_champion_under_which_it_became_old(store: Store) -> None:
    after, before = held_out(1, 100, SOURCES, change=dict.fromkeys(SOURCES, 0.01))
    text = text_of(before)
    made = renew(store, ask(store, "a/1", None), None, (before, after), text, Frontier(Place(1, 150)))
    found = nats(store, made.figures)
    ids = after["id"].to_pylist()
    assert set(found) == set(ids[:150]), "what the candidate was not given is not old yet"
    assert [found[i] for i in ids[:100]] == before["nats"].to_pylist()[:100]
    assert [found[i] for i in ids[100:150]] == after["nats"].to_pylist()[100:150]


def test_figures_move_only_where_they_are_shown_to_be_beaten(store: Store) -> None:
    first, _ = held_out(2, 2000, SOURCES, noise=0.0)
    text = text_of(first, 0.0)
    now = renew(store, ask(store, "a/1", None), None, (first, first), text, Frontier(Place(1, 0)))
    assert now.asks == {"wire": 0, "help": 0} and now.promotions == {"wire": 1, "help": 1}
    ask(store, "a/2", now)
    change = np.where(np.array(first["slice"].to_pylist()) == "wire/2026-01", 0.9, 1.001)
    better = first.set_column(3, "nats", pa.array(np.asarray(first["nats"]) * change))
    made = renew(store, ask(store, "a/3", now), now, (first, better), text, Frontier(Place(1, 0)))
    assert made.asks == {"wire": 0, "help": 2} and made.promotions == {"wire": 0, "help": 2}
    found = nats(store, made.figures)
    expected = [*better["nats"].to_pylist()[:2000], *first["nats"].to_pylist()[2000:]]
    assert [found[i] for i in first["id"].to_pylist()] == expected


def test_without_a_champion_only_the_candidates_figures_count(store: Store) -> None:
    after, before = held_out(3, 50, SOURCES)
    made = renew(store, ask(store, "a/1", None), None, (None, after), text_of(before, 1.0), Frontier(Place(2, 0)))
    assert list(nats(store, made.figures).values()) == [
        n for _, n in sorted(zip(after["id"].to_pylist(), after["nats"].to_pylist(), strict=True))
    ]
