"""The promise, with real processes: nothing lost, nothing repeated, the same weights, whatever is killed.

One short life of the breaking machine (tests/chaos), judged as its long campaigns are: against the corpus by a checker
of its own, and against a twin that nobody disturbed.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.chaos.campaign import Campaign
from tests.chaos.schedule import SETTINGS, Fault, Moment, Plan
from tests.support.runs import end_all

pytestmark = [pytest.mark.ray, pytest.mark.timeout(1500)]
FAULTS = (
    Fault("driver", Moment("window", 2)),
    Fault("clock", Moment("step", 2)),
    Fault("worker", Moment("step", 6)),
    Fault("feed", Moment("recovery", 0)),
)  # a driver that is told to stop is in test_jobs.py


@pytest.fixture(autouse=True)
def leave_nothing_running() -> Iterator[None]:
    """A failed test must not leave a run behind."""
    yield
    end_all()


def test_a_run_killed_in_every_way_ends_as_one_that_nobody_touched(tmp_path: Path) -> None:
    said: list[str] = []
    plan = Plan(seed=1, corpus=0, stages=(FAULTS,), settings=SETTINGS[:1], grows=False, records=300)
    result = Campaign(tmp_path, said.append).one(plan)
    assert result["ok"], (said, result["problems"])
    assert result["same_bits"]
    assert [entry["kind"] for entry in result["recoveries"]] == [fault.kind for fault in FAULTS]
    assert result["life"]["starts"] == 2  # the first, and the one behind the killed driver
    assert sum(result["states"].values()) == 300
    assert result["states"]["trained"] > 220
