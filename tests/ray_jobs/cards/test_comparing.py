"""Are two checkpoints compared on the same documents where they can be, and is it said where they cannot?"""

from dataclasses import replace
from pathlib import Path

import pytest

from cluster.storage.state import write_json
from cluster.storage.store import Store
from ray_jobs.cards.comparing import difference, paired
from ray_jobs.cards.facts import CheckpointFacts
from ray_jobs.checkpoints.champion import InService
from ray_jobs.evaluation.decision import DecisionRow, SliceRow
from ray_jobs.evaluation.scores import write_scores
from ray_jobs.registry.champions import How, ServiceTime
from tests.support.checkpoints import state_at
from tests.support.judging.judged import table
from tests.support.registry.champions import FACTS

IDS = [bytes([number]) * 16 for number in range(4)]
SLICES = ["wire/2026-01", "wire/2026-01", "help/2026-02", "help/2026-02"]
SIZES = [100, 300, 200, 200]


def judged(name: str, against: str, after: float) -> CheckpointFacts:
    """A champion with one slice, judged against another one."""
    row: SliceRow = {"name": "wire/2026-01", "role": "fresh", "documents": 9, "before": 2.0, "after": after}
    row = {**row, "difference": after - 2.0, "low": -0.6, "high": -0.4}
    decision: DecisionRow = {"promoted": True, "reasons": ["better"], "slices": [row], "against": against}
    service = ServiceTime(1, InService(checkpoint=name), How.PROMOTED, None, None, decision)
    return replace(FACTS, name=name, service=service, state=state_at(5, tokens=1000))


def test_bits_per_byte_are_of_the_documents_that_both_have() -> None:
    first, second = (
        table(IDS, SLICES, SIZES, [1.0, 2.0, 3.0, 3.0]),
        table(IDS[:3], SLICES[:3], SIZES[:3], [1.0, 1.0, 2.0]),
    )
    rows = {row["name"]: row for row in paired(first, second)}
    assert {name: row["documents"] for name, row in rows.items()} == {"wire/2026-01": 2, "help/2026-02": 1}
    wire = rows["wire/2026-01"]
    assert wire["before"] == pytest.approx((1.0 * 100 + 2.0 * 300) / 400)
    assert wire["after"] == pytest.approx(1.0) and wire["difference"] == pytest.approx(-0.75)


def test_slices_come_from_the_gate_from_kept_figures_or_from_each_judgement(tmp_path: Path) -> None:
    store = Store.open(str(tmp_path))
    first, second = judged("news/00000005", "the untrained model", 1.5), judged("news/00000007", "news/00000005", 1.25)
    told = difference(store, first, second)
    assert told["compared"] == "as the gate compared them, with its bounds" and told["slices"][0]["low"] == -0.6
    other = judged("news/00000009", "news/00000007", 1.0)
    told = difference(store, first, other)
    assert told["compared"] == "each on the documents of its own judgement"
    assert (told["slices"][0]["before"], told["slices"][0]["after"]) == (1.5, 1.0)
    for step, bits in (("00000005", 2.0), ("00000009-judged", 1.0)):
        write_scores(store, "news", step, table(IDS, SLICES, SIZES, [bits] * 4))
    told = difference(store, first, other)
    assert told["compared"] == "on the documents that both were scored on"
    assert [row["difference"] for row in told["slices"]] == pytest.approx([-1.0, -1.0])
    path = "runs/news/evaluations/00000005.arrow"
    store.write(path, store.read(path)[:-3] + b"abc")
    assert difference(store, first, other)["compared"] == "each on the documents of its own judgement", "it is damaged"


def test_settings_that_differ_are_named_and_places_are_not(tmp_path: Path) -> None:
    store = Store.open(str(tmp_path))
    first, second = judged("news/00000005", "x", 1.5), replace(judged("next/00000007", "x", 1.2), main="next")
    for run, rate in (("news", 0.1), ("next", 0.2)):
        settings = {"name": run, "store": f"./{run}", "optim": {"lr": rate}, "seed": 1}
        write_json(store, f"runs/{run}/config.json", settings)
    told = difference(store, first, second)
    assert told["settings"] == [{"what": "optim.lr", "first": 0.1, "second": 0.2}]
    assert {one["what"] for one in told["changed"]} == {"run"}
