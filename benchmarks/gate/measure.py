"""What does the gate keep of its promise, and what does it see? Rows for `python -m benchmarks gate`."""

import math
import tempfile
import time

import numpy as np

from benchmarks.gate.eras import ALPHA, Era, before, documents_needed, false_promotions
from benchmarks.gate.families import FAMILIES
from benchmarks.gate.whole import MARGIN, drift, promoted
from benchmarks.rows import Goal, Row
from cluster.storage.store import Store
from ray_jobs.config.blocks import EvaluateConfig, GateConfig
from ray_jobs.evaluation.decision import Decision
from ray_jobs.registry.asks import Ask, Question, Rules, Ruling, Weights, answer, reserve

CELLS = (
    *(Era(family, 25, k) for family in FAMILIES for k in (1, 10, 30, 100)),
    *(Era(family, 100, 10) for family in FAMILIES),
    *(Era(family, 800, 10) for family in FAMILIES),
    *(Era(family, 25, k, 3) for family in FAMILIES for k in (10, 30)),
    *(Era(family, 25, k, 1, 0.8) for family in FAMILIES for k in (10, 30)),
    *(Era(family, 25, 30, 3, 0.8) for family in FAMILIES),
    *(Era(family, 100, 10, days=days) for family in FAMILIES for days in (2, 5, 20)),
)
CLOSE_TO = {"lognormal 1"}  # harm so rare that the sample has not met it: no test can hold the level
SERIES = 10_000
POWER = ((0.05, 0.02), (0.05, 0.01), (0.114, 0.02), (0.114, 0.01))


def measure(quick: bool) -> list[Row]:
    """Simulate; quick: a hundredth of the series."""
    rows = [_era(cell, quick) for cell in (CELLS[:3] if quick else CELLS)]
    rows += [_before(k, 20 if quick else 300) for k in ((1, 10) if quick else (1, 10, 30))]
    runs = 30 if quick else 1000
    rows += [_old(deviation, runs) for deviation in (0.05, 0.114)]
    rows += [_caught(deviation, runs) for deviation in (0.05, 0.114)]
    rows += [_power(deviation, effect) for deviation, effect in POWER[: 1 if quick else 4]]
    rows += [_drift(loss, 2 if quick else 20) for loss in (0.1, 0.3, 0.5)]
    rows.append(_registry(50 if quick else 1000))
    return rows


def _era(era: Era, quick: bool) -> Row:
    series = SERIES // (100 if quick else 1)
    ours, plain = false_promotions(era, series, seed=era.asks)
    error = math.sqrt(ALPHA * (1 - ALPHA) / series)
    candidates = f", {era.candidates} candidates" if era.candidates > 1 else ""
    shared = f", {era.shared:.0%} of the noise shared" if era.shared else ""
    days = f" on {era.days} days, correlation 0.2" if era.days else ""
    what = f"{era.family}, {era.documents} documents{days} × {era.asks} asks{candidates}{shared}"
    goal = None if era.family in CLOSE_TO else Goal(ALPHA + 2 * error, at_least=False, of_ratio=False)
    return Row(
        f"ever promoted, none better: {what}",
        "",
        [round(ours, 4)],
        "a plain t at 5 % each time",
        [round(plain, 4)],
        goal=goal,
        why="harm is so rare that a sample of that size has not met it",
        note=f"{series:,} series, Monte-Carlo error {error:.4f}",
    )


def _before(asks: int, series: int) -> Row:
    era = Era("mirrored", 25, asks)
    ours, _ = false_promotions(era, SERIES // 5, seed=7)
    note = f"{series} series of the old gate"
    return Row(
        f"ever promoted, none better: mirrored, 25 documents × {asks} asks",
        "",
        [ours],
        "the gate before",
        [before(era, series, 7)],
        note=note,
    )


def _old(deviation: float, runs: int) -> Row:
    refused = [1 - promoted([0.0] * 10, deviation, 0.03, ask, runs) for ask in (1, 10)]
    goal = Goal(0.1, at_least=False, of_ratio=False)
    what = f"refused though nothing old changed: 10 slices × 300, deviation {deviation}, asks 1 and 10"
    return Row(what, "", refused, goal=goal, note=f"{runs} decisions an ask; 1,000 fresh documents better by 0.03")


def _caught(deviation: float, runs: int) -> Row:
    caught = [1 - promoted([0.0] * 9 + [3 * MARGIN], deviation, 0.03, ask, runs) for ask in (1, 10)]
    goal = Goal(0.9, of_ratio=False)
    return Row(f"caught: one of ten slices lost 3 margins, deviation {deviation}, asks 1 and 10", "", caught, goal=goal)


def _power(deviation: float, effect: float) -> Row:
    needed = [documents_needed(effect, deviation, ask) for ask in (1, 3, 10, 30)]
    what = f"documents for 80 %: better by {effect}, deviation {deviation}, asks 1, 3, 10, 30"
    return Row(what, "documents", needed, note=", ".join(f"{n:,}" for n in needed))


def _drift(loss: float, runs: int) -> Row:
    ours = [drift(loss, 200, seed, ratchet=True) for seed in range(runs)]
    without = [drift(loss, 200, seed, ratchet=False) for seed in range(runs)]
    goal = Goal(3.0, at_least=False, of_ratio=False)
    what = f"lost of old text after 200 eras of {loss} margins each"
    note = f"{np.max(ours):.2f} margins at most in {runs} histories; drift_margin is 3"
    return Row(what, "margins", ours, "without a drift reference", without, goal=goal, note=note)


def _registry(asks: int) -> Row:
    """Spend the levels of many asks through the store itself."""
    rules, began = Rules.of(GateConfig(), EvaluateConfig()), time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        store, levels = Store.open(folder), []
        for number in range(asks):
            ask = reserve(store, Question("x-0", (Weights(f"run/{number}", "0"),), number, rules, 10**6))
            if isinstance(ask, Ask):
                levels.append(ask.level)
                answer(store, ask, Ruling(decisions=(Decision("refused", ["why"]),), chosen=0))
    seconds = time.perf_counter() - began
    what = f"level spent by {asks} asks of the registry"
    goal = Goal(ALPHA, at_least=False, of_ratio=False)
    return Row(
        what, "", [sum(levels)], goal=goal, note=f"{seconds / asks * 1000:.1f} ms an ask, reservation and verdict"
    )
