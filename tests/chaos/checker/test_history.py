"""Does the breaking machine's checker notice every way in which a history can be wrong, and is a schedule pure?"""

import copy
import json
import os
import shutil
import signal
import subprocess
import time
from dataclasses import replace

import numpy as np
import pytest
from safetensors.numpy import save, save_file

from tests.chaos.campaign import keeps_settings
from tests.chaos.checker.comparison import compare, weights
from tests.chaos.checker.history import check, read_corpus, read_history
from tests.chaos.checker.recovery import recoveries
from tests.chaos.corpus import grow, lines
from tests.chaos.life import OVERDUE_STEPS, Fired, Life, Mark
from tests.chaos.processes import Process, family, lives, send
from tests.chaos.result import DEADLY, curve, percentiles, summarise
from tests.chaos.schedule import FAULTS, POISONS, Fault, Moment, plan
from tests.system.test_histories import HELD_OUT, RUN, SEED, Run

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def lived(tmp_path_factory):
    """A drained run of three pieces: its store, with a checkpoint of real tensors, and its corpus."""
    run = Run()
    run.folder = tmp_path_factory.mktemp("lived")
    run.content = lambda: save({"weight": np.arange(8, dtype=np.float32)})
    run.begin(40)
    for size in (25, 30):
        run.drain()
        run.append(size)
    run.drain()
    (run.folder / f"lake/runs/{RUN}").mkdir(parents=True, exist_ok=True)
    told = [json.dumps(step_event(n)) for n in range(1, run.position[0] + 1)]
    (run.folder / f"lake/runs/{RUN}/metrics.jsonl").write_text("\n".join([*told, '{"event": "st']))
    return run.folder


def step_event(n, branch=False, loss=None, skipped=0):
    told = {"event": "step", "branch": branch, "step": n, "round": 0, "tokens": n, "predictions": 7}
    return told | {"loss": 5.0 / n if loss is None else loss, "skipped_steps": skipped}


@pytest.fixture
def history(lived):
    return copy.deepcopy(read_history(lived / "lake", RUN))


def judged(history, lived):
    return check(history, lived / "corpus", SEED, HELD_OUT, 20)


def test_an_honest_history_is_believed(history, lived):
    verdict = judged(history, lived)
    assert verdict.ok, verdict.problems
    assert sum(verdict.states.values()) == 95
    assert all(verdict.states[state] for state in ("trained", "held_out", "dropped", "quarantined"))
    assert len(history.rounds) > 3
    assert len(history.ledger) > 2


def kept(history, n=3):
    return [row for row in history.documents if row["fate"] == "kept"][n]


def lose_a_record(history):
    history.documents.remove(next(row for row in history.documents if row["fate"] == "dropped"))


def store_a_record_twice(history):
    history.documents.append(dict(history.documents[-1], position=999))


def store_a_stranger(history):
    kept(history)["offset"] += 1000


def swap_two_texts(history):
    one, other = kept(history, 1), kept(history, 2)
    one["text"], other["text"] = other["text"], one["text"]


def spell_a_text_otherwise(history):
    kept(history)["text"] += " "


def spoil_tokens(history):
    kept(history)["tokens"][0] ^= 1


def spoil_an_id(history):
    kept(history)["id"] = bytes(16)


def train_a_held_out_document(history):
    next(row for row in history.documents if row["fate"] == "held_out")["fate"] = "kept"


def hold_out_a_kept_one(history):
    kept(history)["fate"] = "held_out"


def keep_a_duplicate(history):
    row = next(row for row in history.documents if row["reason"] == "duplicate")
    row["fate"], row["reason"] = "kept", None


def drop_without_reason(history):
    row = kept(history)
    row["fate"], row["reason"] = "dropped", "too_short"


def keep_what_cannot_be_read(history):
    next(row for row in history.documents if row["fate"] == "quarantined")["fate"] = "dropped"


def forget_a_fresh_document(history):
    history.rounds[1]["fresh"].pop(0)


def train_a_document_twice(history):
    history.rounds[2]["fresh"].append(history.rounds[0]["fresh"][0])


def shed_what_is_trained(history):
    history.rounds[2]["shed"] = [history.rounds[0]["fresh"][0]]


def leave_a_gap_between_rounds(history):
    history.rounds[1]["start"] = [history.rounds[1]["start"][0], history.rounds[1]["start"][1] + 1]


def lose_a_round(history):
    del history.rounds[1]


def leave_the_last_round_out(history):
    history.rounds.pop()


def replay_from_the_future(history):
    history.rounds[0]["replay"] = [history.rounds[2]["fresh"][0]]


def replay_what_is_fresh(history):
    history.rounds[1]["replay"] = [history.rounds[1]["fresh"][0]]


def miscount_tokens(history):
    history.rounds[1]["fresh"][0]["num_tokens"] += 1


def skip_a_window(history):
    history.windows = [row for row in history.windows if row["window"] != 1]


def leave_a_window_uncommitted(history):
    history.windows.remove(next(row for row in history.windows if row["event"] == "committed"))


def commit_other_spans(history):
    next(row for row in history.windows if row["event"] == "committed")["spans"] = "{}"


def stop_the_ledger_early(history):
    history.ledger.pop()


def repeat_a_step_in_the_ledger(history):
    history.ledger[1]["step"] = history.ledger[0]["step"]


def go_back_in_the_ledger(history):
    history.ledger.insert(2, dict(history.ledger[0], sequence=2))
    for number, entry in enumerate(history.ledger):
        entry["sequence"] = number


def skip_a_sequence(history):
    history.ledger[-1]["sequence"] += 1


def commit_a_place_that_no_round_has(history):
    history.ledger[0]["step_in_round"] += 1000


def lose_the_newest_checkpoint(history):
    history.checkpoints.pop()


def flip_a_bit_of_a_checkpoint(history):
    history.checkpoints[-1]["files"][0]["sha256"] = "0" * 64


def commit_a_part_of_a_branch(history):
    history.branches.append(({"run": f"{RUN}@00000008", "step_in_round": 3}, 4))


BREAKS = [
    commit_a_part_of_a_branch,
    lose_a_record,
    store_a_record_twice,
    store_a_stranger,
    swap_two_texts,
    spell_a_text_otherwise,
    spoil_tokens,
    spoil_an_id,
    train_a_held_out_document,
    hold_out_a_kept_one,
    keep_a_duplicate,
    drop_without_reason,
    keep_what_cannot_be_read,
    forget_a_fresh_document,
    train_a_document_twice,
    shed_what_is_trained,
    leave_a_gap_between_rounds,
    lose_a_round,
    leave_the_last_round_out,
    replay_from_the_future,
    replay_what_is_fresh,
    miscount_tokens,
    skip_a_window,
    leave_a_window_uncommitted,
    commit_other_spans,
    stop_the_ledger_early,
    repeat_a_step_in_the_ledger,
    go_back_in_the_ledger,
    skip_a_sequence,
    commit_a_place_that_no_round_has,
    lose_the_newest_checkpoint,
    flip_a_bit_of_a_checkpoint,
]


@pytest.mark.parametrize("spoil", BREAKS, ids=lambda spoil: spoil.__name__)
def test_a_broken_history_is_not_believed(spoil, history, lived):
    spoil(history)
    assert not judged(history, lived).ok


@pytest.mark.parametrize(
    ("spoil", "lost", "repeated"),
    [
        (lose_a_record, 1, 0),
        (store_a_record_twice, 0, 1),
        (forget_a_fresh_document, 1, 0),
        (train_a_document_twice, 0, 1),
    ],
)
def test_lost_and_repeated_documents_are_counted_as_such(spoil, lost, repeated, history, lived):
    spoil(history)
    verdict = judged(history, lived)
    assert (verdict.lost, verdict.repeated) == (lost, repeated)


def test_a_document_that_was_not_trained_at_the_end_is_pending(history, lived):
    leave_the_last_round_out(history)
    assert judged(history, lived).states["pending"] > 0


def test_the_ledger_may_go_back_behind_a_checkpoint_that_was_put_aside(history, lived):
    go_back_in_the_ledger(history)
    history.aside = [history.ledger[1]["step"]]
    assert judged(history, lived).ok


def test_a_run_is_compared_with_its_twin(history):
    twin = copy.deepcopy(history)
    assert compare(history, twin, same_rounds=True, same_bits=True) == []
    history.steps.append(step_event(2))  # trained again after a kill, with the same loss
    assert compare(history, twin, same_rounds=True, same_bits=True) == []
    history.steps.append(step_event(2, loss=2.5001))
    assert compare(history, twin, same_rounds=True, same_bits=False) == []
    assert "step 2 has loss 2.5001" in compare(history, twin, same_rounds=True, same_bits=True)[0]
    history.steps[-1]["loss"] = 3.0
    assert "step 2 has loss 3.0" in compare(history, twin, same_rounds=True, same_bits=False)[0]


def test_losses_are_compared_until_a_step_was_skipped(history, lived, tmp_path):
    twin = copy.deepcopy(history)
    told = [step_event(2, loss=2.5), step_event(3, skipped=1) | {"loss": None}, step_event(4, loss=9.0, skipped=1)]
    shutil.copytree(lived / "lake", tmp_path, dirs_exist_ok=True)
    (tmp_path / f"runs/{RUN}/metrics.jsonl").write_text("\n".join(map(json.dumps, told)))
    history = read_history(tmp_path, RUN)
    assert compare(history, twin, same_rounds=True, same_bits=False) == []
    history.steps[0]["loss"] = 3.0
    assert "step 2 has loss 3.0" in compare(history, twin, same_rounds=True, same_bits=False)[0]


def test_another_batch_text_or_round_than_the_twins_is_noticed(history):
    twin = copy.deepcopy(history)
    history.steps[4]["predictions"] += 1
    assert "another round or batch" in compare(history, twin, same_rounds=True, same_bits=False)[0]
    history = copy.deepcopy(twin)
    history.rounds[2]["fresh"].reverse()
    assert "rounds differ from round 2 on" in compare(history, twin, same_rounds=True, same_bits=False)[0]
    assert compare(history, twin, same_rounds=False, same_bits=False) == []
    kept(history)["text"] = "another"
    assert "1 texts of the twin were not trained" in compare(history, twin, same_rounds=False, same_bits=False)[0]


def test_one_bit_of_one_tensor_is_another_checkpoint(history, tmp_path):
    before = weights(history)
    [file] = history.checkpoints[-1]["files"]
    (tmp_path / file["path"]).parent.mkdir(parents=True)
    other = np.arange(8, dtype=np.float32)
    save_file({"weight": other}, tmp_path / file["path"])
    moved = replace(history, store=tmp_path)
    assert weights(moved) == before
    other.view(np.uint32)[3] ^= 1
    save_file({"weight": other}, tmp_path / file["path"])
    assert weights(moved) != before
    assert "bit for bit" in compare(moved, history, same_rounds=True, same_bits=True)[-1]


def test_a_schedule_is_a_function_of_the_seed_and_knows_every_fault():
    plans = [plan(seed, 10, hang=True) for seed in range(60)]
    assert plans == [plan(seed, 10, hang=True) for seed in range(60)]
    assert all(10 <= p.faults <= 17 for p in plans)
    assert all(sum(f.kind in DEADLY for stage in p.stages for f in stage) == 10 for p in plans if not p.bucket)
    assert {fault.kind for p in plans for stage in p.stages for fault in stage} == set(FAULTS)
    assert not any(f.kind in POISONS for p in plans if keeps_settings(p) for stage in p.stages for f in stage)
    assert {(len(set(p.settings)) > 1, p.grows) for p in plans} == {(False, False), (True, False), (False, True)}


def test_the_corpus_is_a_function_of_seed_and_stage_and_holds_what_has_to_be_told_apart(tmp_path):
    assert lines(3, 1, 50) == lines(3, 1, 50) != lines(3, 2, 50)
    for folder in ("a", "b"):
        grow(tmp_path / folder, 3, 0, 90)
        grow(tmp_path / folder, 3, 1, 30, torn=folder == "b")
    wires = [(tmp_path / folder / "corpus/wire.jsonl").read_bytes() for folder in "ab"]
    assert wires[0] == wires[1]


def test_a_recovery_ends_with_the_first_step_of_the_workers_that_were_started_anew(tmp_path):
    life = Life(tmp_path, plan(1, 1), lambda life, fault: (True, ""))
    fault = Fault("worker", Moment("step", 1))
    life.fired = [Fired(fault, 0, 10.0, True)]
    steps = [(9.0, 4), (9.5, 5), (10.1, 6), (16.0, 4), (17.0, 5)]
    life.told.events = [{**step_event(n), "time": time} for time, n in steps]
    life.told.events.append({"event": "started", "time": 15.0, "step": 3})
    life.told.events.append({"event": "started", "time": 40.0, "step": 9})  # of the next stage
    life.stages_began = [8.0, 30.0]
    life.sightings = [(8.0, "worker", 1), (13.0, "worker", 2)]
    [found] = recoveries(life)
    assert (found["seconds"], found["steps_lost"]) == (6.0, 2)
    assert found["parts"] == {"ray": 3.0, "restore": 2.0, "first_step": 1.0}
    life.told.events.append({"event": "fault", "time": 9.8})
    assert recoveries(life)[0]["steps_lost"] == 0, "the fault before it had lost them"
    life.told.events.pop()
    life.sightings.append((9.9, "exit", 1))
    assert recoveries(life)[0]["steps_lost"] == 0, "the command before had lost them"


def test_a_poison_that_nobody_took_was_not_brought_about(tmp_path):
    life = Life(tmp_path, plan(1, 1), lambda life, fault: (True, ""))
    life.fired = [Fired(Fault(kind, Moment("step", 1)), 0, 10.0, True) for kind in ("memory", "nan", "worker")]
    life._take_poison_back()
    assert [fired.done for fired in life.fired] == [True, True, True]
    (tmp_path / "poison").write_text("nan")
    life._take_poison_back()
    assert [fired.done for fired in life.fired] == [True, False, True]
    assert not (tmp_path / "poison").exists()


def test_a_fault_that_stops_nobody_is_measured_by_the_longest_wait_for_a_step(tmp_path):
    life = Life(tmp_path, plan(1, 1), lambda life, fault: (True, ""))
    life.stages_began = [8.0]
    life.fired = [Fired(Fault("feed", Moment("step", 1)), 0, 10.0, True)]
    life.told.events = [{**step_event(n), "time": time} for time, n in [(9.9, 4), (10.1, 5), (12.1, 6), (12.2, 7)]]
    assert recoveries(life)[0]["seconds"] == 2.0


def test_a_twin_gets_the_pieces_of_corpus_that_the_disturbed_run_got(tmp_path):
    two_stages = replace(plan(1, 1), stages=((), ()), records=30)

    def lived(folder, pieces, appended):
        life = Life(tmp_path / folder, two_stages, lambda life, fault: (True, ""), pieces=pieces)

        def drain(faults):
            for size in appended[life.stage]:
                life.grow(size)
            return True

        life._drain = drain
        assert life.run()
        return life.pieces, read_corpus(tmp_path / folder / "corpus")

    pieces, corpus = lived("disturbed", [], [[7, 5], [6]])
    assert pieces == [[30, 7, 5], [30, 6]]
    again, twins = lived("twin", [list(sizes) for sizes in pieces], [[], []])
    assert again == pieces
    assert list(twins.values()) == list(corpus.values())
    assert len(corpus) == 78


def test_moments_are_counted_from_the_fault_before(tmp_path):
    life = Life(tmp_path, plan(1, 1), lambda life, fault: (True, ""))
    told = life.told.events
    told += [step_event(1), {"event": "window"}, {"event": "commit"}]
    life.seen = {(7, 1): Process(7, 1, 1, "worker")}
    mark = Mark(life)
    moments = [Moment("step", 2), Moment("window", 2), Moment("commit", 1), Moment("branch", 0), Moment("recovery", 0)]
    reached = []
    for event in ({"event": "window"}, step_event(2), step_event(3), step_event(2), {"event": "window"}):
        told.append(event)
        reached.append([m.what for m in moments if mark.reached(m)])
    assert reached == [[], [], ["step"], ["step"], ["step", "window"]]
    life.seen[8, 2] = Process(8, 1, 2, "worker")
    told += [{"event": "commit"}, {"event": "branch"}, step_event(40, branch=True)]
    assert all(map(mark.reached, moments))
    mark.set()
    assert not any(map(mark.reached, moments))
    told.append(step_event(3 + OVERDUE_STEPS))  # there will be no further window; a branch always comes
    assert [m.what for m in moments if mark.reached(m)] == ["step", "window", "commit", "recovery"]


def test_only_descendants_of_the_driver_are_found():
    with subprocess.Popen(["sh", "-c", "sleep 60 & wait"]) as parent:
        try:
            while len(found := family(parent.pid)) < 2:
                time.sleep(0.01)
            assert [process.name for process in found] == ["driver", ""]
            assert found[1].parent == parent.pid
            assert os.getpid() not in [process.pid for process in found]
            assert send(found[1], signal.SIGKILL)
            while lives(found[1]):
                time.sleep(0.01)
            assert not send(found[1], signal.SIGKILL)
            assert lives(found[0]._replace(started=1)) is False, "another process of the same pid"
        finally:
            parent.kill()


def test_the_summary_adds_up_and_the_curve_is_the_formula():
    entry = {"kind": "worker", "seconds": 4.0, "restarted": True, "steps_lost": 3, "parts": {"ray": 4.0}}
    run = {
        "seed": 1,
        "ok": True,
        "same_bits": True,
        "lost": 0,
        "repeated": 0,
        "states": {"trained": 9, "held_out": 1},
        "recoveries": [entry, {**entry, "kind": "append", "restarted": False, "seconds": None}],
        "life": {"fired": [], "interventions": [], "leftovers": [], "seconds": 100.0},
        "twin_seconds": 60.0,
    }
    found = summarise([run, {**run, "seed": 2, "ok": False, "lost": 1}])
    assert (found["kills"], found["faults"], found["documents"], found["lost"]) == (2, 4, 20, 1)
    assert (found["goodput"], found["failed_seeds"], found["bitwise_equal"]) == (0.6, [2], "1 of 2")
    assert found["by_fault"]["worker"]["steps_lost_most"] == 3
    assert percentiles(range(1, 101)) == {"p50": 50, "p95": 95}
    assert percentiles([]) == {}
    big = next(row for row in curve(4.0) if (row["gpus"], row["interval_s"], row["recovery_s"]) == (1024, 300.0, 120.0))
    assert big["goodput"] == round(1 - 1 / 300 - (150 + 120) / (7.9 * 3600), 4)
