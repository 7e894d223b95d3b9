"""Does a trial train the recorded rows, go on after a kill as if nothing were, and answer from the store?"""

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from ray.exceptions import RayTaskError, WorkerCrashedError

from cluster.storage.store import Store
from data_ops.documents.frontier import Frontier
from data_ops.documents.place import Place
from data_ops.documents.tokenizer import byte_tokenizer
from data_ops.rounds.masking import RowObjective
from data_ops.rounds.plan import Behind
from ray_jobs.checkpoints import manifest as commits
from ray_jobs.config.reading import check
from ray_jobs.config.schema import planning
from ray_jobs.evaluation.held_out import steering
from ray_jobs.outcome import ConfigError
from ray_jobs.sweep.question import trial_config
from ray_jobs.sweep.start import copy_start
from ray_jobs.sweep.trial import gradient_noise as sweep_batch
from ray_jobs.sweep.trial import tracking
from ray_jobs.sweep.trial import trial as sweep_trial
from ray_jobs.sweep.trial.job import Segment, SweepJob, result_path, segment_run
from ray_jobs.sweep.trial.recorded_rounds import Diet, RecordedRows, diet_key, place_behind, record_rounds
from ray_jobs.sweep.trial.score import combined, thinned
from ray_jobs.sweep.trial.tracking import Tracking
from ray_jobs.sweep.trial.trial import TrialHost
from ray_jobs.training.worker.restore import WrongWeightsError, check_probe
from tests.models.engine.test_engine import spawn
from tests.support.checkpoints import commit_at
from tests.support.lakes import fill_lake, make_lake

RUN, LAST = "news@sweep", 7
MARKS = (256, 512, 1024)
TOKEN = byte_tokenizer().document_token
BASE = {
    "name": "news",
    "seed": 5,
    "sources": {},
    "reservoir": {"capacity": 40},
    "round": {"tokens": 400, "replay_share": 0.25},
    "model": {"layers": 1, "width": 16, "heads": 2, "row_tokens": 16},
    "engine": {"batch_tokens": 64, "precision": "fp32", "zero_stage": 1},
    "optim": {"lr": 0.01, "schedule": {"warmup_tokens": 0}},
    "wandb": {"mode": "disabled"},
    "sweep": {"tokens": 1024, "space": {"optim.lr": [0.01, 0.02]}},
}


@pytest.fixture(scope="module")
def lake(tmp_path_factory):
    lake = make_lake(tmp_path_factory.mktemp("lake"))
    fill_lake(lake, [["kept"] * 36 + ["held_out"] * 4] * (LAST + 1))
    return lake


@pytest.fixture(scope="module")
def config(lake):
    return check({**BASE, "store": lake.store.root})


@pytest.fixture(scope="module")
def diet(lake, config):
    return record_rounds(lake, planning(config), f"{RUN}/diet-a", place_behind(lake, None), LAST, MARKS[-1])


@pytest.fixture
def job(config):
    return SweepJob(
        run=RUN,
        store=config.store,
        tokenizer=byte_tokenizer().to_json(),
        start=None,
        start_tokens=0,
        place=(0, 0),
        marks=MARKS,
        last_window=LAST,
        fresh=("mine/2024-08",),
        average=0.2,
        old_share=0.5,
        vocabulary=byte_tokenizer().vocab_size,
    )


def segment(config, diet, key, last=3, **point):
    return Segment(key, trial_config(config, point, 0).model_dump_json(), diet, 0, last)


def run(job, spec):
    """The verdicts of a trial that nobody disturbs."""
    trial, verdicts = TrialHost(job).begin(spec), []
    while not verdicts or not verdicts[-1]["done"]:
        found = trial.advance()
        if "score" in found:
            verdicts.append(found)
    trial.close()
    return verdicts


def told(verdicts):
    return [{k: v for k, v in verdict.items() if not k.endswith("seconds") and k != "key"} for verdict in verdicts]


def test_a_trial_is_judged_by_what_may_steer_alone(lake, config, job):
    evaluate = config.evaluate.model_copy(update={"steer": 0.5})
    some, every = (TrialHost(job).text(asked, config.model).table["id"] for asked in (evaluate, config.evaluate))
    assert set(some.to_pylist()) == set(steering(lake, LAST, evaluate).to_pylist()) < set(every.to_pylist())


@pytest.mark.slow
def test_recorded_rounds_are_planned_once_and_refused_where_text_is_lacking(lake, config, diet):
    again = record_rounds(lake, planning(config), diet.run, place_behind(lake, None), LAST, MARKS[-1])
    assert again == diet
    assert sum(diet.rows) * 16 >= MARKS[-1]
    with pytest.raises(ConfigError, match=r"sweep.tokens=9,000,000 is more than the [\d,]+ tokens that wait"):
        record_rounds(lake, planning(config), f"{RUN}/diet-b", place_behind(lake, None), LAST, 9_000_000)


@pytest.mark.slow
def test_every_batch_size_sees_the_same_rows_in_the_same_order(lake, diet):
    def rows(size):
        source = RecordedRows(lake.store, diet, RowObjective(TOKEN))
        parts = [source.batch(first, size)[0] for first in range(0, 60, size)]
        return [np.concatenate(field) for field in zip(*parts, strict=True)]

    whole = rows(60)
    assert len(set(diet.rows)) >= 1
    assert diet.rows[0] < 60, "batches span rounds"
    for size in (1, 4, 12):
        assert all(np.array_equal(a, b) for a, b in zip(whole, rows(size), strict=True))
    assert (whole[1] != -100).sum() > 0.8 * whole[1].size


def test_what_decides_the_rounds_makes_rounds_of_their_own_and_shards_do_not(config):
    def key(config, place=(0, 0), last=LAST):
        return diet_key(planning(config), Behind(Frontier(Place(*place))), last)

    others = [{"round.replay_share": 0.5}, {"reservoir.half_life": 86400.0}]
    found = {key(trial_config(config, point, 0)) for point in others}
    found |= {key(config), key(config, (1, 4)), key(config, last=LAST + 1)}
    found |= {key(config.model_copy(update={"seed": 6}))}
    found |= {key(config.model_copy(update={"round": config.round.model_copy(update={"tokens": 500})}))}
    assert len(found) == 7
    shards = config.reservoir.model_copy(update={"shards": 7})
    assert key(config.model_copy(update={"reservoir": shards})) == key(config)


@pytest.mark.slow
def test_a_trial_is_judged_at_its_marks_and_learns(job, config, diet):
    verdicts = run(job, segment(config, diet, "learns"))
    assert [v["tokens"] for v in verdicts] == list(MARKS)
    assert [v["trained"] for v in verdicts] == list(MARKS), "the batch divides the marks"
    assert verdicts[-1]["score"] < verdicts[0]["score"]
    assert verdicts[-1]["curve"][-1][0] == MARKS[-1]
    assert "mine/2024-08" in verdicts[0]["slices"]
    assert verdicts[0]["fresh"] == pytest.approx(verdicts[0]["slices"]["mine/2024-08"])
    assert verdicts[0]["score"] == pytest.approx((verdicts[0]["fresh"] + verdicts[0]["old"]) / 2)


@pytest.mark.slow
def test_a_batch_that_does_not_divide_a_mark_stays_below_it(job, config, diet):
    verdicts = run(job, segment(config, diet, "odd", **{"engine.batch_tokens": 80}))
    assert [v["trained"] for v in verdicts] == [240, 480, 960]


@pytest.mark.slow
def test_killed_anywhere_a_trial_ends_with_the_same_verdicts(job, config, diet, monkeypatch):
    whole = told(run(job, segment(config, diet, "whole")))
    monkeypatch.setattr("ray_jobs.sweep.trial.trial.BEAT_SECONDS", 0.0)  # every step is a beat
    spec, verdicts, beats = segment(config, diet, "killed"), [], 0
    while not verdicts or not verdicts[-1]["done"]:
        trial = TrialHost(job).begin(spec)
        for _ in range(3):
            found = trial.advance()
            if "score" in found:
                verdicts.append(found)
            beats += "score" not in found
            if found.get("done"):
                break
        if beats % 2:  # stopped in order; else killed: what it did since its last mark is gone
            trial.close()
    last = {v["tokens"]: v for v in verdicts}
    assert told(list(last.values())) == whole


@pytest.mark.slow
def test_a_damaged_commit_is_put_aside_and_the_trial_begins_before_it(job, config, diet, lake):
    whole = told(run(job, segment(config, diet, "whole")))
    spec = segment(config, diet, "damaged")
    run(job, replace(spec, last=1))
    commit = commits.latest(lake.store, segment_run(RUN, "damaged"))
    place = lake.store.local_path(commit.files[0].path)
    place.write_bytes(place.read_bytes()[:-8] + b"damaged!")
    with pytest.raises(commits.DamagedCheckpointError):
        run(job, spec)
    assert told(run(job, spec))[1:] == whole[1:], "it trained again from the start"


@pytest.mark.slow
def test_what_the_store_knows_is_not_trained_again(job, config, diet, lake):
    spec = segment(config, diet, "known")
    first = run(job, spec)
    path = result_path(RUN, "known", 2)
    lake.store.write(path, json.dumps({**first[1], "score": 1.25}).encode())
    commits_before = commits.commits(lake.store, segment_run(RUN, "known"))
    again = run(job, spec)
    assert [v["score"] for v in again] == [first[0]["score"], 1.25, first[2]["score"]]
    assert commits.commits(lake.store, segment_run(RUN, "known")) == commits_before


def test_a_trial_that_was_stopped_stays_stopped(job, config, diet, lake):
    run(job, segment(config, diet, "ended", last=2))
    lake.store.write(f"runs/{RUN}/trials/ended/end.json", json.dumps({"mark": 2, "state": "stopped"}).encode())
    assert [v["done"] for v in run(job, segment(config, diet, "ended"))] == [False, True]


@pytest.mark.slow
def test_a_member_of_a_population_goes_on_with_the_weights_of_its_donor(job, config, diet):
    whole = run(job, segment(config, diet, "alone"))
    first = Segment("g00m00", segment(config, diet, "x").config, diet, 0, 1)
    second = Segment("g01m01", segment(config, diet, "x").config, diet, 1, 3, donor="g00m00")
    split = run(job, first) + run(job, second)
    assert [v["score"] for v in split] == [v["score"] for v in whole]
    assert [v["begun"] for v in split] == [0, MARKS[0], MARKS[0]], "whose tokens are counted once"
    with pytest.raises(FileNotFoundError, match=r"weights of .*g09m09 are gone"):
        run(job, Segment("g01m02", second.config, diet, 1, 3, donor="g09m09"))


@pytest.mark.slow
def test_every_trial_forks_from_the_same_checkpoint(job, config, diet):
    run(job, segment(config, diet, "parent", last=1))
    commit = commits.latest(TrialHost(job).store, segment_run(RUN, "parent"))
    forked = replace(job, run="fork@sweep", start=commit.name, start_tokens=MARKS[0])
    with pytest.raises(FileNotFoundError, match=rf"the weights of {commit.name} are gone"):
        run(forked, segment(config, diet, "slow", last=1))
    copy_start(TrialHost(job).store, commit, forked.run)
    slow = run(forked, segment(config, diet, "slow", last=1, **{"optim.lr": 1e-9}))
    parent = run(job, segment(config, diet, "parent", last=1))
    assert slow[0]["trained"] == MARKS[0]
    assert slow[0]["score"] == pytest.approx(parent[0]["score"], rel=0.2)
    assert abs(slow[0]["curve"][-1][1] - parent[0]["curve"][-1][1]) < 0.5


@pytest.mark.parametrize(("made", "mine"), [("fp32", "bf16"), ("bf16", "fp32"), ("bf16", "bf16"), ("fp32", "fp32")])
def test_weights_in_another_precision_are_compared_as_closely_as_the_coarser_of_the_two_allows(made, mine):
    commit = commit_at("news", 12, 1, 2, precision=made, probe_loss=2.0)
    engine = SimpleNamespace(probe=lambda: 2.01, precision=mine)
    if (made, mine) == ("fp32", "fp32"):
        with pytest.raises(WrongWeightsError, match=r"recorded a probe loss of 2.000000, its weights give 2.010000"):
            check_probe(engine, commit)
    else:
        check_probe(engine, commit)
    with pytest.raises(WrongWeightsError):
        check_probe(SimpleNamespace(probe=lambda: 2.1, precision=mine), commit)


class Shown:
    """A W&B run that only remembers."""

    def __init__(self):
        self.summary, self.closed = None, False

    def log(self, event):
        pass

    def conclude(self, summary):
        self.summary = summary

    def close(self):
        self.closed = True


@pytest.fixture
def shown(monkeypatch):
    """What trials show in W&B: run id -> run."""
    runs = {}
    monkeypatch.setattr(tracking, "open_wandb", lambda config, run_id, *_: runs.setdefault(run_id, Shown()))
    return runs


@pytest.mark.slow
def test_wandb_hears_the_last_words_of_a_trial_unless_it_failed(job, config, diet, shown, monkeypatch):
    run(job, segment(config, diet, "whole-shown", last=1))
    (whole,) = shown.values()
    assert whole.closed
    assert whole.summary["mark"] == 1
    assert whole.summary["trained"] == MARKS[0]
    shown.clear()
    monkeypatch.setattr(sweep_trial, "BEAT_SECONDS", 0.0)  # every step is a beat
    stopped = TrialHost(job).begin(segment(config, diet, "stopped-shown"))
    stopped.advance()
    stopped.close()
    assert next(iter(shown.values())).summary is not None, "it was stopped in order"
    shown.clear()
    failing = TrialHost(job).begin(segment(config, diet, "failing-shown"))
    failing.advance()
    monkeypatch.setattr(sweep_trial, "train_rows", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        failing.advance()
    failing.close()
    (failed,) = shown.values()
    assert failed.closed
    assert failed.summary is None


def test_sweeps_of_one_name_in_two_stores_are_other_runs_in_wandb(job, config, diet, shown, tmp_path):
    spec = segment(config, diet, "id", last=1)
    for store in ("/one", "/two", "/one"):
        Tracking(replace(job, store=store), spec, config, Store.open(str(tmp_path)))
    assert len(shown) == 2
    assert all(run_id.startswith("news-sweep-id-") for run_id in shown)


def two_ranks(rank, path, job, spec):
    verdicts = run(job, spec)
    if rank == 0:
        Path(path).write_text(json.dumps(verdicts))


@pytest.mark.slow
def test_two_workers_find_what_one_finds(job, config, diet, tmp_path):
    alone = run(job, segment(config, diet, "one", **{"engine.zero_stage": 2}))
    spawn(2, two_ranks, tmp_path, str(tmp_path / "two"), job, segment(config, diet, "two", **{"engine.zero_stage": 2}))
    together = json.loads((tmp_path / "two").read_text())
    assert [v["trained"] for v in together] == [v["trained"] for v in alone]
    assert [v["score"] for v in together] == pytest.approx([v["score"] for v in alone], rel=1e-4)
    again = run(job, segment(config, diet, "two", **{"engine.zero_stage": 2}))
    assert [v["score"] for v in again] == [v["score"] for v in together], "any number of workers goes on with it"


def test_the_score_weighs_fresh_and_old_and_knows_when_there_is_none():
    assert combined(2.0, 4.0, 0.5) == 3.0
    assert combined(None, 4.0, 0.5) == 4.0
    assert combined(None, None, 0.5) is None
    assert combined(float("nan"), 4.0, 0.5) is None


def test_a_thinned_curve_keeps_its_mean_and_its_end():
    curve = [(n, float(n % 5)) for n in range(1, 101)]
    found = thinned(curve, 10)
    assert len(found) == 10
    assert found[-1][0] == 100
    assert np.mean([y for _, y in found]) == pytest.approx(np.mean([y for _, y in curve]))
    assert thinned([], 10) == []


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (WorkerCrashedError(), "The worker died unexpectedly while executing this task."),
        (
            RayTaskError("_measure", "Traceback:\n  somewhere\nValueError: 1 batch says nothing", ValueError()),
            "1 batch",
        ),
        (OSError("cannot read"), "cannot read"),
    ],
)
def test_what_goes_wrong_while_noise_is_measured_is_one_sentence_and_no_more(
    job, config, diet, lake, monkeypatch, error, said
):
    def fail(task):
        raise error

    task = SimpleNamespace(remote=lambda *_: None)
    monkeypatch.setattr(sweep_batch, "ray", SimpleNamespace(remote=lambda **_: lambda _: task, get=fail))
    run(job, segment(config, diet, "noisy", last=1))
    notes = []
    assert sweep_batch.measure_noise(job, "noisy", config, diet, {}, lambda *told: notes.append(told)) is None
    assert len(notes) == 1
    assert said in notes[0][1]
    assert "\n" not in notes[0][1]


def test_noise_is_measured_on_batches_no_larger_than_those_that_were_trained(config):
    small = trial_config(config, {"engine.batch_tokens": 64, "engine.micro_batch_rows": 60_000}, 0)
    assert sweep_batch.small_batches(small.engine, small.model.row_tokens, Diet("a", (500,))) == (32, 4)
    assert sweep_batch.small_batches(small.engine, small.model.row_tokens, Diet("a", (3,))) == (0, 4)


def test_behind_weights_that_a_run_began_with_the_log_begins(lake):
    assert place_behind(lake, commit_at("base@0123456789abcdef", 0)) == Behind()
