"""The promise, with real processes: nothing lost, nothing repeated, the same weights, whatever is killed.

One short life of the breaking machine (tests/chaos), judged as its long campaigns are: against the corpus by a checker
of its own, and against a twin that nobody disturbed.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.chaos.campaign import Campaign
from tests.chaos.schedule import SETTINGS, Fault, Moment, Plan
from tests.runs import end_all

pytestmark = pytest.mark.ray
FIRST = (
    Fault("driver", Moment("window", 2)),
    Fault("worker", Moment("step", 6)),
    Fault("feed", Moment("recovery", 0)),
    Fault("shard", Moment("step", 6)),
)
SECOND = (Fault("peer", Moment("step", 4)), Fault("sigterm", Moment("commit", 1)))  # after the corpus has grown


@pytest.fixture(autouse=True)
def leave_nothing_running() -> Iterator[None]:
    """A failed test must not leave a run behind."""
    yield
    end_all()


def test_a_run_killed_in_every_way_while_its_corpus_grows_ends_as_one_that_nobody_touched(tmp_path: Path) -> None:
    said: list[str] = []
    plan = Plan(seed=1, corpus=0, stages=(FIRST, SECOND), settings=SETTINGS[:1], grows=False, records=240)
    result = Campaign(tmp_path, said.append).one(plan)
    assert result["ok"], (said, result["problems"])
    assert result["same_bits"]
    assert [entry["kind"] for entry in result["recoveries"]] == [fault.kind for fault in FIRST + SECOND]
    assert result["life"]["starts"] == 4  # two stages, a killed driver, a stopped one
    assert sum(result["states"].values()) == 480
    assert result["states"]["trained"] > 350
