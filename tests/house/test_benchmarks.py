"""Do the benchmarks measure what they say? Tiny sizes, nothing timed, no Ray."""

import json
import statistics

import numpy as np
import pyarrow as pa
import pytest

from benchmarks import __main__ as bench
from benchmarks import corpus
from benchmarks.data import compact, ingest, kernels
from benchmarks.gate.eras import Era, documents_needed, false_promotions
from benchmarks.gate.families import FAMILIES, residuals
from benchmarks.gate.whole import drift, promoted
from benchmarks.rows import Goal, Row, table
from benchmarks.training import checkpoint, other_loops, resume, stall, train_loop
from cluster.storage.store import Store
from data_ops.audit.account import account
from data_ops.documents.document import CURATED_SCHEMA, DOCUMENT_SCHEMA
from data_ops.documents.tokenizer import Tokenizer
from data_ops.ingest.pipeline import _place, _tokens
from data_ops.ingest.seen import drop_repeats
from data_ops.lake.lake import Lake
from data_ops.rounds.manifest import Manifest
from data_ops.sources.kinds import open_source
from models.config import ModelConfig


def test_a_goal_is_judged_on_the_median_of_the_ratios_or_of_our_figure():
    assert Row("a", "s", [1, 2, 90], ratios=[0.5, 0.99, 2], goal=Goal(0.98)).met is True
    assert Row("a", "s", [1, 2, 90], ratios=[0.5, 0.97, 2], goal=Goal(0.98)).met is False
    assert Row("a", "s", [1, 2, 90], goal=Goal(1.9, at_least=False, of_ratio=False)).met is False
    assert Row("a", "s", [1]).met is None


def test_the_table_says_why_a_goal_was_missed_and_shows_the_range():
    missed = Row("loop", "tokens/s", [90.0, 80.0, 85.0], "bare", [100.0], [0.9, 0.8, 0.85], Goal(0.98), "Because.")
    text = table([missed])
    assert "| loop | 85 [80..90] tokens/s | 100 tokens/s (bare) | 0.85 [0.8..0.9] | ≥ 0.98 × | **no** |" in text
    assert "- **loop: goal missed.** Because." in text


def test_rows_survive_being_written(tmp_path):
    row = Row("what", "s", [1.0, 2.0, 4.0], "other", [2.0, 2.0, 2.0], [0.5, 1.0, 2.0], Goal(0.98), "why", "note")
    read = json.loads(json.dumps(row.to_dict()))
    assert read["ratios_spread"] == {"median": 1.0, "min": 0.5, "max": 2.0, "repeats": 3}
    assert table([bench.from_dict(read)]) == table([row])


def test_a_benchmark_that_fails_is_told_and_the_exit_code_says_so(monkeypatch, tmp_path, capsys):
    monkeypatch.setitem(bench.BENCHMARKS, "window", "benchmarks.nowhere:measure")
    monkeypatch.setattr(bench, "RESULTS", tmp_path)
    monkeypatch.setattr(bench, "run_apart", lambda *_: {"load_before": (0.0,), "rows": [], "failed": "no such file"})
    assert bench.main(["window", "--quick"]) == 1
    assert "window failed:** no such file" in (tmp_path / "quick.md").read_text()
    assert json.loads((tmp_path / "quick.json").read_text())["benchmarks"]["window"]["failed"] == "no such file"


def test_a_benchmark_that_is_run_again_takes_the_place_of_its_own_figures_only(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(bench, "RESULTS", tmp_path)
    said = iter(("first", "second", "third"))
    monkeypatch.setattr(bench, "run_apart", lambda *_: {"load_before": (0.0,), "rows": [], "failed": next(said)})
    assert bench.main(["window", "packing"]) == bench.main(["window"]) == 1
    found = json.loads(next(tmp_path.glob("20*.json")).read_text())["benchmarks"]
    assert {name: one["failed"] for name, one in found.items()} == {"window": "third", "packing": "second"}


def test_an_unknown_benchmark_is_refused(capsys):
    with pytest.raises(SystemExit):
        bench.main(["packer"])
    assert "'packer' is no benchmark" in capsys.readouterr().err


@pytest.fixture(scope="module")
def ingested(tmp_path_factory):
    """A corpus with broken lines, taken in without Ray: (table, lines, places, settings)."""
    folder = tmp_path_factory.mktemp("ingested")
    made = list(corpus.lines(1500, 2))
    places = corpus.write(folder / "corpus", made, 2)
    settings, tokenizer = ingest.settings_for(folder, 1000), Tokenizer.from_json(ingest.bpe(made))
    source = open_source("made", settings.sources["made"])
    parts = [ingest.curated(source, "made", s, settings) for s in source.discover({}, 10_000).spans]
    merged = pa.concat_tables([t for part in parts for t in part]).select(CURATED_SCHEMA.names)
    whole = drop_repeats(merged, settings.curate.remembered)
    whole = whole.append_column("tokens", _tokens(whole, ingest.living(whole), tokenizer))
    return _place(whole, 0), made, places, settings


@pytest.mark.slow
def test_the_broken_lines_are_of_all_eight_kinds_and_each_is_quarantined_for_its_reason(ingested):
    documents, made, places, settings = ingested
    assert {line.reason for line in made if line.fate == "quarantined"} == set(corpus.BROKEN)
    assert len(corpus.BROKEN) == 8
    assert ingest.mistakes(documents, made, places, settings.seed) == []


@pytest.mark.slow
@pytest.mark.parametrize("fault", ["lost", "twice", "fate", "text"])
def test_the_comparison_with_the_lake_finds_every_kind_of_mistake(ingested, fault):
    documents, made, places, settings = ingested
    kept = documents["fate"].to_pylist().index("kept")
    if fault == "lost":
        documents = pa.concat_tables([documents.slice(0, kept), documents.slice(kept + 1)])
    elif fault == "twice":
        documents = pa.concat_tables([documents, documents.slice(kept, 1)])
    else:
        values = documents[fault].to_pylist()
        values[kept] = {"fate": "held_out", "text": "another"}[fault]
        column = pa.array(values, DOCUMENT_SCHEMA.field(fault).type)
        documents = documents.set_column(documents.schema.get_field_index(fault), fault, column)
    assert len(ingest.mistakes(documents, made, places, settings.seed)) == 1


def test_the_grown_lake_holds_rounds_whose_documents_are_in_it(tmp_path, monkeypatch):
    monkeypatch.setattr(resume, "WINDOW", 50)
    monkeypatch.setattr(resume, "FRESH", 30)
    monkeypatch.setattr(resume, "REPLAY", 10)
    lake = Lake(Store.open(str(tmp_path)))
    lake.create()
    growth = resume.Growth(lake)
    growth.to(120)
    assert (growth.window, growth.rounds, lake.num_rounds(resume.RUN), lake.last_window()) == (3, 4, 4, 2)
    last = Manifest.from_row(lake.rounds(resume.RUN, 3), 0)
    assert (len(last.fresh), len(last.replay)) == (30, 10)
    table = lake.documents(0, 2, ["window", "position", "id"])
    where = {(r["window"], r["position"]): r["id"] for r in table.to_pylist()}
    named = last.documents.to_arrow()
    assert all(where[row["window"], row["position"]] == row["id"] for row in named)


@pytest.mark.slow
def test_stores_filled_by_hand_are_as_appends_leave_them(tmp_path):
    plain, tidy = compact.Growth(tmp_path / "plain"), compact.Growth(tmp_path / "tidy")
    for growth in (plain, tidy):
        growth.to(33)
    plain.sum_up()
    tidy.to_and_compact(40)
    plain.to(40)
    assert (plain.files(), tidy.files() < 40) == (160, True)
    for lake in (plain.lake, tidy.lake):
        assert [w.window for w in lake.windows()[0]] == list(range(40)) and lake.windows()[1] is None
        assert (lake.last_window(), lake.num_rounds(compact.RUN)) == (39, 40)
        assert lake.documents(0, 99).num_rows == 40 * compact.DOCUMENTS
        assert Manifest.from_row(lake.rounds(compact.RUN, 7), 0).fresh.windows.tolist() == [7] * compact.DOCUMENTS
        assert account(lake, compact.RUN).ok
        assert not lake.plan_window(lake.windows()[0][-1]), "the transactions are there too"


@pytest.mark.slow
def test_a_checkpoint_is_measured_on_a_tiny_model():
    rows = checkpoint.compare(ModelConfig(layers=1, width=32, heads=2, row_tokens=64), 1)
    assert [len(row.ours) for row in rows] == [1, 1, 1]
    assert all(value > 0 for row in rows for value in row.ours)


@pytest.mark.slow
def test_packing_and_reservoir_give_rows():
    rows = kernels.measure_packing(True)
    assert [row.met for row in rows if "cut" in row.what] == [True, True]
    assert statistics.median(kernels.values({"low": 3, "median": 2, "high": 1})) == 2


def test_loops_that_train_different_things_are_not_compared():
    ended = [float(n) for n in range(8)]
    bare = other_loops.Trained(ended, [1.0] * 8, [], {}, ended)
    mine = other_loops.Trained(ended, [1.0] * 7 + [1.1], [0.0] * 8, {"tokens_per_second": 1.0}, ended)
    with pytest.raises(AssertionError, match="do not train the same"):
        train_loop.rows(train_loop.QUICK, train_loop.Turns([mine], [bare, bare], [bare, bare]))


def test_tokens_per_second_are_those_behind_the_skipped_steps_by_wall_or_cpu_time():
    ended = np.cumsum([9, 9, 9, 9, 9, 2, 2, 2]).astype(float)
    trained = other_loops.Trained(ended.tolist(), [], [], {}, (2 * ended).tolist())
    assert (trained.tokens_per_second(100), trained.tokens_per_cpu_second(100)) == (50, 25)


def test_the_stall_of_a_run_counts_checkpoints_within_training_and_steps_beside_their_writing():
    step = {"event": "step", "branch": False}
    told = [{**step, "step": n, "time": 100.0 + n, "seconds": 2.0 if n == 5 else 1.0} for n in range(1, 11)]
    told += [{"event": "checkpoint", "step": n, "time": 100.5 + n, "checkpoint_stall_s": 0.25} for n in (4, 10)]
    told += [{"event": "commit", "step": 4, "time": 105.2}, {**step, "branch": True, "step": 11, "time": 300.0}]
    share, one, beside = stall.rows(told, 60, {"copy": [0.1]})
    assert (share.ours, one.ours) == ([0.025], [250.0])
    assert (beside.ours, beside.against, beside.ratios) == ([1.5], [1.0], [1.5])
    assert share.note.startswith("1 checkpoints in 10 s of training; parts of one, in one process: copy 100.0 ms")


def test_the_series_of_the_gate_keep_their_mean_and_the_plain_test_fails_where_it_should():
    rng = np.random.default_rng(0)
    for family in FAMILIES:
        drawn = residuals(family, rng, (400_000,))
        assert abs(drawn.mean()) < 0.02 and (family == "t3" or abs(drawn.std() - 1) < 0.1)
    ours, plain = false_promotions(Era("mirrored", 25, 10), 300, seed=1)
    assert ours < 0.09 and plain > 0.2
    assert 20 < documents_needed(0.02, 0.05, 1) < 200
    assert promoted([0.0] * 3, 0.05, 0.03, 1, 3) == 1.0 and promoted([0.0, 0.0, 0.2], 0.05, 0.03, 1, 3) == 0.0
    kept, lost = (drift(0.5, 20, 0, ratchet=ratchet) for ratchet in (True, False))
    assert 0 < kept < 3.5 < 8 < lost
