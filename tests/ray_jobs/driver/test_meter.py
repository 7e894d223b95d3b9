"""Does every metric follow from the events of a run, across restarts, repeated windows and lost steps?"""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.telemetry.metrics import METRICS
from cluster.telemetry.sinks import Telemetry
from data_ops.ingest.events import Warned, WindowDone
from data_ops.lake.window import Window
from ray_jobs.checkpoints.manifest import Commit
from ray_jobs.checkpoints.position import Position, TrainingState
from ray_jobs.driver.meter import FreshnessObjective, Meter
from ray_jobs.training.events import CandidateJudged, Committed, Evaluated, RoundBegun, SnapshotTaken, Started, StepDone

COUNTS = {"read": 10, "kept": 6, "held_out": 1, "quarantined": 1}
REASONS = {"dropped": {"duplicate": 2}, "quarantined_by": {"bad_json": 1}}


def step(number, at, seconds=1.0, **others):
    facts = {"loss": 2.0, "grad_norm": 1.0, "learning_rate": 0.1, "tokens_per_second": 1e3, "predictions": 900}
    return StepDone(step=number, time=at, seconds=seconds, data_wait_s=0.25, tokens=number * 1000, **facts, **others)


def window(number):
    return WindowDone(window=number, seconds=0.5, time=1.0, behind={"wire": 3}, **COUNTS, **REASONS)


def started(number, at, workers=2):
    return Started(step=number, workers=workers, time=at)


def commit(number, at):
    return Committed(step=number, size_bytes=7, time=at)


def values(meter, *events):
    """What a metric reads after these events."""
    seen = {}
    for event in events:
        for row in meter.read(event):
            Telemetry([]).log(row)  # refuses a name that is in no table
            seen |= row
    return seen


def meter(**others):
    return Meter(1000, 10, began_s=0.0, **others)


def test_every_metric_of_the_table_is_reported_and_no_other():
    seen = values(
        meter(slo=FreshnessObjective({"wire": 1.0}, 0.01)),
        started(0, 0.0),
        RoundBegun(round=0, fresh_tokens=3, replay_tokens=1, last_window=0, drift={"wire": 0.1}, drift_alarms=1),
        window(0),
        step(
            1,
            1.0,
            mfu=0.5,
            ahead_losses=(5.0,),
            freshness_s=(1.0, 3.0),
            to_lake_s={"wire": (1.0,)},
            to_gradient_s={"wire": (2.0,)},
        ),
        SnapshotTaken(step=1, checkpoint_stall_s=0.1, time=1.5),
        commit(1, 2.0),
        started(1, 9.0),
        step(2, 10.0),
        Evaluated(step=2, slices={"news/2026-11": {"bits_per_byte": 1.0, "bytes": 9}}),
        step(3, 11.0, branch=True),
        Evaluated(step=3, branch=True, slices={"news/2026-11": {"bits_per_byte": 1.0, "bytes": 9}}),
        CandidateJudged(step=2, promoted=True, to_champion_s={"wire": (1.0, 3.0)}, tasks={"exam": (0.5, 0.6)}),
        CandidateJudged(step=2, promoted=False),
        Warned(text="a word"),
    )
    assert {name.split("/")[0] for name in seen} - {"event"} == set(METRICS)


def test_a_candidate_that_decays_leaves_the_figures_of_the_main_line_alone():
    read = meter()
    before = values(read, step(1, 1.0), commit(1, 2.0))
    decayed = values(read, step(2, 3.0, branch=True), Committed(step=2, branch=True, time=4.0))
    assert set(decayed) == {"event", "decay_loss", "decay_learning_rate"}
    assert values(read, step(2, 5.0), commit(2, 6.0))["goodput"] == pytest.approx(2 / 6)
    assert before["step"] == 1


def test_what_was_not_asked_is_neither_promoted_nor_refused():
    assert values(meter(), CandidateJudged(step=2, promoted=False, verdict="not asked")) == {}


def test_what_champion_and_candidate_showed_at_a_task_stands_beside_each_other():
    seen = values(meter(), CandidateJudged(step=2, promoted=False, tasks={"exam": (0.5, 0.6)}))
    assert (seen["champion_task/exam"], seen["candidate_task/exam"]) == (0.5, 0.6)


def test_bits_per_byte_of_all_held_out_text_weigh_slices_by_their_bytes():
    slices = {"a/1": {"bits_per_byte": 1.0, "bytes": 300}, "a/2": {"bits_per_byte": 3.0, "bytes": 100}}
    assert values(meter(), Evaluated(step=2, slices=slices))["bits_per_byte"] == 1.5


def test_documents_are_totals_of_the_store_and_add_up():
    before = [Window(n, {}, {}, datetime.now(UTC), {**COUNTS, **REASONS}) for n in range(3)]
    seen = values(meter(windows=before), window(3), window(4))
    assert seen["documents_read"] == 50 and seen["documents_dropped/duplicate"] == 10 and seen["window"] == 5
    parts = [v for k, v in seen.items() if k.startswith("documents_") and k != "documents_read"]
    assert sum(parts) == seen["documents_read"]


def test_a_window_that_is_told_twice_counts_once():
    assert values(meter(), window(0), window(1), window(1))["documents_read"] == 20


def test_lag_is_what_was_committed_behind_the_round_in_training():
    read = meter()
    assert values(read, window(0), window(1))["backlog_windows"] == 2
    begun = RoundBegun(round=0, fresh_tokens=3, replay_tokens=1, last_window=1)
    assert values(read, begun)["backlog_windows"] == 0
    assert values(read, window(2))["backlog_windows"] == 1


def test_lag_of_a_source_is_what_it_said_when_the_last_window_was_planned():
    told = [WindowDone(window=n, time=1.0, behind={"live": 70 - n, "more": 0}) for n in range(3)]
    lag = values(meter(), *told)
    assert (lag["source_lag/live"], lag["source_lag/more"]) == (68, 0)


def test_goodput_counts_the_steps_of_a_checkpoint_once():
    read = meter()
    assert values(read, step(1, 2.0), step(2, 4.0), commit(2, 10.0))["goodput"] == pytest.approx(0.2)
    values(read, step(3, 11.0), step(4, 12.0), started(2, 18.0), step(3, 19.0))
    assert values(read, commit(3, 20.0))["goodput"] == pytest.approx(3 / 20), "steps 3 and 4 of before are lost"


def test_recovery_runs_from_the_last_step_before_to_the_first_after():
    read = meter()
    assert "recovery_s" not in values(read, started(0, 0.0), step(1, 3.0), step(2, 4.0))
    assert values(read, started(1, 20.0))["restarts"] == 1
    assert values(read, step(2, 24.0))["recovery_s"] == 20.0
    assert "recovery_s" not in values(read, step(3, 25.0))


def test_a_group_that_dies_before_its_first_step_has_nothing_to_recover():
    read = meter()
    assert "recovery_s" not in values(read, started(0, 0.0), started(0, 9.0), step(1, 10.0))


def test_counters_stand_somewhere_from_the_beginning():
    counters = {name for name, metric in METRICS.items() if metric.kind == "counter"}
    new = meter(slo=FreshnessObjective({"wire": 1.0}, 0.01)).begin(None)
    assert new.pop("slo_allowed_share/wire") == 0.01
    assert {name.split("/")[0] for name in new} == counters and set(new.values()) == {0}
    assert {"documents_quarantined/bad_json", "documents_dropped/duplicate"} <= set(new)
    before = [Window(n, {}, {}, datetime.now(UTC), {**COUNTS, **REASONS}) for n in range(3)]
    position = Position(round=4, step=40, tokens=40_000, skipped=((1, 2),))
    state = TrainingState(position=position, probe_loss=1.0, precision="fp32", model={})
    row = meter(windows=before).begin(Commit("news", 40, 4, 2, (), state))
    told = {name: row[name] for name in ("step", "round", "tokens", "rows", "skipped_steps", "window", "restarts")}
    assert tuple(told.values()) == (40, 4, 40_000, 400, 1, 3, 0)
    assert (row["documents_kept"], row["documents_dropped/duplicate"], row["documents_dropped/empty"]) == (18, 6, 0)


def test_a_run_over_a_store_that_was_taken_in_before_tells_its_documents():
    before = [Window(n, {}, {}, datetime.now(UTC), {**COUNTS, **REASONS}) for n in range(3)]
    seen = values(meter(windows=before), started(0, 0.0))
    assert (seen["documents_kept"], seen["window"]) == (18, 3)


def test_a_commit_that_is_told_before_its_snapshot_has_its_time_too():
    read, taken = meter(), SnapshotTaken(step=4, checkpoint_stall_s=0.1, time=10.0)
    assert "checkpoint_s" not in values(read, commit(4, 12.5))
    assert values(read, taken)["checkpoint_s"] == 2.5


def test_a_checkpoint_takes_from_its_snapshot_to_its_commit():
    read = meter()
    taken = SnapshotTaken(step=4, checkpoint_stall_s=0.1, time=10.0)
    seen = values(read, taken, commit(4, 12.5))
    assert (seen["checkpoint_s"], seen["checkpoint_time_s"], seen["checkpoint_step"]) == (2.5, 12.5, 4)
    assert "checkpoint_s" not in values(read, commit(8, 20.0)), "the snapshot was told by nobody"


@given(st.lists(st.tuples(st.integers(0, 3), st.floats(0.01, 5)), max_size=60))
def test_goodput_is_a_share_and_counters_never_fall(moves):
    read, now, at, done = meter(), 0.0, 0, 0
    last = {}
    for what, seconds in moves:
        now += seconds
        if what == 0:
            at = done
            events = [started(done, now)]
        elif what == 1:
            done = max(done, at)
            events = [commit(at, now)]
        else:
            at += 1
            events = [step(at, now, seconds)]
        seen = values(read, *events)
        assert 0 <= seen.get("goodput", 0) <= 1
        assert seen.get("restarts", last.get("restarts", 0)) >= last.get("restarts", 0)
        last |= seen


def test_text_that_is_trained_too_late_is_counted_by_source_and_only_where_an_objective_is_set():
    slo = FreshnessObjective({"wire": 10.0}, 0.05)
    begun = meter(slo=slo).begin(None)
    assert {name: value for name, value in begun.items() if name.startswith("slo_")} == {
        "slo_documents/wire": 0,
        "slo_late_documents/wire": 0,
        "slo_allowed_share/wire": 0.05,
    }
    seen = values(
        meter(slo=slo),
        step(1, 1.0, to_gradient_s={"wire": (2.0, 10.0, 11.0), "help": (99.0,)}),
        step(2, 2.0, branch=True, to_gradient_s={"wire": (99.0,)}),
        step(3, 3.0, to_gradient_s={"wire": (12.0,)}),
    )
    assert (seen["slo_documents/wire"], seen["slo_late_documents/wire"]) == (4, 2)
    assert not [name for name in seen if "help" in name and name.startswith("slo")]
    assert not [name for name in meter().begin(None) if name.startswith("slo_")]
