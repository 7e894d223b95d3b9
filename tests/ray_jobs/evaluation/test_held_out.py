"""Are held-out documents scored one by one, the same by any number of workers, and sliced by time?"""

import math

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from cluster.rows import Rows
from cluster.storage.seal import DamagedError
from cluster.storage.store import Store
from data_ops.documents.periods import PERIODS
from data_ops.rounds.masking import RowObjective
from models.config import ModelConfig
from models.measures.scoring import scorer
from ray_jobs.config.blocks import EvaluateConfig
from ray_jobs.evaluation import scores
from ray_jobs.evaluation.held_out import held_out, note_steered, steered, steering
from ray_jobs.evaluation.scores import by_slice, read_scores, score, with_nats, write_scores
from tests.support.lakes import START, add_window, make_documents, make_lake

D = 256
MODEL = ModelConfig(layers=1, width=16, heads=2, row_tokens=8)  # rows shorter than some documents
EVERYTHING = EvaluateConfig(documents_per_slice=1000)
FATES = ["held_out", "kept", "held_out", "dropped", "held_out"]


@pytest.fixture(scope="module")
def lake(tmp_path_factory):
    lake = make_lake(tmp_path_factory.mktemp("lake"))
    for number in range(4):
        source = ("news", "docs")[number % 2]
        add_window(lake, make_documents(number, FATES * 4, 40 * number, source=source))
    return lake


@pytest.fixture(scope="module")
def model():
    return scorer(MODEL, 257, 3, None)


@pytest.fixture(autouse=True)
def few_rows_at_once(monkeypatch):
    monkeypatch.setattr(scores, "ROWS_AT_ONCE", 4)


def collect(lake, config=EVERYTHING, last_window=3):
    return held_out(lake, last_window, config, MODEL.row_tokens, RowObjective(D))


def ids(data):
    return data.table["id"].to_pylist()


def nats_alone(model, tokens):
    """Score one document by itself, a row at a time."""
    inputs, labels = [D, *tokens], [*tokens, D]
    total = 0.0
    for first in range(0, len(inputs), MODEL.row_tokens):
        piece = slice(first, first + MODEL.row_tokens)
        pad = MODEL.row_tokens - len(inputs[piece])
        columns = (inputs[piece] + [D] * pad, labels[piece] + [-100] * pad, [0] * (MODEL.row_tokens - pad) + [-1] * pad)
        nats, _ = model(Rows(*(np.array([column], np.int32) for column in columns)))
        total += float(nats.sum())
    return total


def test_a_share_of_the_documents_steers_and_a_larger_one_has_those_of_a_smaller(lake):
    shares = {share: steering(lake, 3, EvaluateConfig(documents_per_slice=1000, steer=share)) for share in (0.3, 0.7)}
    some, most = (set(found.to_pylist()) for found in shares.values())
    every = set(ids(collect(lake)))
    assert some and some < most < every and abs(len(most) / len(every) - 0.7) < 0.2
    capped = steering(lake, 3, EvaluateConfig(documents_per_slice=2, steer=0.7))
    slices = held_out(lake, 3, EVERYTHING, MODEL.row_tokens, RowObjective(D), capped).table["slice"].to_pylist()
    assert set(capped.to_pylist()) < most and max(slices.count(name) for name in slices) == 2
    assert steering(lake, 3, EVERYTHING) is None, "all of them may"


def test_the_largest_share_that_ever_steered_is_kept(tmp_path):
    store = Store.open(str(tmp_path))
    assert steered(store) == 0
    for share in (0.0, 0.25, 0.1, 0.25):
        note_steered(store, share)
    assert steered(store) == 0.25


def test_only_held_out_documents_of_the_windows_asked_for_are_judged(lake):
    everything = lake.documents(0, 3, ["id", "fate", "num_bytes"])
    held = everything.filter(pa.compute.equal(everything["fate"], "held_out"))
    assert ids(collect(lake)) == sorted(held["id"].to_pylist())
    assert sum(collect(lake).table["num_bytes"].to_pylist()) == sum(held["num_bytes"].to_pylist())
    assert ids(collect(lake, last_window=0)) == sorted(lake.documents(0, 0, ["id"], ["held_out"])["id"].to_pylist())


def test_each_documents_nats_are_those_of_the_document_alone(lake, model):
    data = collect(lake)
    found = dict(zip(ids(data), score(data, model).tolist(), strict=True))
    rows = lake.documents(0, 3, ["id", "tokens"], ["held_out"]).to_pylist()
    assert max(len(row["tokens"]) for row in rows) > MODEL.row_tokens, "some documents are cut"
    assert len(found) == len(rows)
    for row in rows:  # float32 sums of other neighbours in the row: a few parts in a million
        assert found[row["id"]] == pytest.approx(nats_alone(model, row["tokens"]), rel=2e-5)


def test_of_a_conversation_the_answers_are_judged_by_their_own_bytes(tmp_path, model):
    """Context is read and paid for by nobody; the first token of the context is read at position 0."""
    lake, documents = make_lake(tmp_path), make_documents(0, ["held_out"] * 6, 0)
    tokens = [[~t if n < 3 or n == 5 else t for n, t in enumerate(row)] for row in documents["tokens"].to_pylist()]
    at = documents.schema.get_field_index("tokens")
    add_window(lake, documents.set_column(at, documents.schema.field(at), pa.array(tokens, documents.schema[at].type)))
    data = collect(lake, last_window=0)
    found = dict(zip(ids(data), score(data, model).tolist(), strict=True))
    for name, stored in zip(documents["id"].to_pylist(), tokens, strict=True):
        inputs = [t if t >= 0 else ~t for t in stored]
        labels = [*(t if t >= 0 else -100 for t in stored[1:]), -100]
        pad = MODEL.row_tokens - len(inputs)
        row = Rows(*(np.array([part], np.int32) for part in (inputs + [D] * pad, labels + [-100] * pad, [0] * 8)))
        assert found[name] == pytest.approx(float(model(row)[0].sum()), rel=2e-5)


@pytest.mark.parametrize("world", [2, 3, 5])
def test_the_scores_of_all_ranks_add_up_to_those_of_one(lake, model, world):
    data = collect(lake)
    parts = [score(data, model, rank, world) for rank in range(world)]
    np.testing.assert_allclose(sum(parts), score(data, model), rtol=1e-6)
    assert all((part == 0).any() for part in parts), "no rank does all the work"


@pytest.mark.parametrize("world", [1, 2, 3, 5])
def test_every_rank_makes_the_same_calls_with_the_same_number_of_rows(lake, model, world):
    data, calls = collect(lake), []
    for rank in range(world):
        shapes = []

        def watched(rows, shapes=shapes):
            shapes.append(rows.inputs.shape)
            return model(rows)

        score(data, watched, rank, world)
        calls.append(shapes)
    assert all(shapes == calls[0] for shapes in calls)
    assert set(calls[0]) == {(4, MODEL.row_tokens)}
    assert len(calls[0]) == -(-data.packing.num_rows // (4 * world))


@pytest.mark.slow
@pytest.mark.parametrize("period", PERIODS)
def test_a_slice_is_a_source_and_a_period_of_event_time(lake, period):
    data = collect(lake, EvaluateConfig(period=period, documents_per_slice=1000))
    rows = lake.documents(0, 3, ["id", "source", "event_time"], ["held_out"]).to_pylist()
    expected = {row["id"]: f"{row['source']}/{row['event_time'].strftime(PERIODS[period])}" for row in rows}
    assert dict(zip(ids(data), data.table["slice"].to_pylist(), strict=True)) == expected
    known = {"day": "news/2024-01-01", "week": "news/2024-W01", "month": "news/2024-01", "year": "news/2024"}
    assert known[period] in expected.values()
    assert START.year == 2024


def test_a_capped_slice_holds_the_same_documents_however_they_arrived(lake, tmp_path):
    config = EvaluateConfig(period="year", documents_per_slice=7)
    data = collect(lake, config)
    assert by_slice(with_nats(data, np.ones(14))).keys() == {"news/2024", "docs/2024"}
    assert [found["documents"] for found in by_slice(with_nats(data, np.ones(14))).values()] == [7, 7]
    other = make_lake(tmp_path)
    for number, window in enumerate((3, 1, 0, 2)):
        source = ("news", "docs")[window % 2]
        documents = make_documents(number, FATES * 4, 40 * window, source=source)
        add_window(other, documents.take(list(range(20))[::-1]))
    assert ids(collect(other, config)) == ids(data)
    smaller = collect(lake, EvaluateConfig(period="year", documents_per_slice=3))
    assert set(ids(smaller)) < set(ids(data)), "a smaller cap keeps a part of the same"


def test_bits_per_byte_are_summed_over_a_slice_and_not_averaged():
    table = pa.table({"slice": ["b", "a", "a"], "nats": [3.0, 10.0, 2.0], "num_bytes": [3, 4, 1]})
    found = by_slice(table)
    assert list(found) == ["a", "b"]
    assert found["a"] == {"bits_per_byte": pytest.approx(12 / math.log(2) / 5), "documents": 2, "bytes": 5}


def test_a_store_without_held_out_text_has_nothing_to_judge(tmp_path, model):
    lake = make_lake(tmp_path)
    add_window(lake, make_documents(0, ["kept"] * 3))
    data = collect(lake, last_window=0)
    assert data.table.num_rows == 0
    assert len(score(data, model)) == 0
    assert by_slice(with_nats(data, score(data, model))) == {}


def test_scores_are_kept_document_by_document(lake, model, tmp_path):
    data = collect(lake)
    table = with_nats(data, score(data, model))
    store = Store.open(str(tmp_path))
    write_scores(store, "news", "00000012", table)
    assert read_scores(store, "news", "00000012").equals(table)


def test_figures_that_changed_are_never_judged_by(tmp_path):
    store, table = Store.open(str(tmp_path)), pa.table({"id": [b"a"], "slice": ["x"], "num_bytes": [3], "nats": [2.5]})
    write_scores(store, "news", "00000012", table)
    path = scores.scores_path("news", "00000012")
    data = store.read(path)
    for place in range(0, 8 * len(data), 61):
        flipped = bytearray(data)
        flipped[place // 8] ^= 1 << place % 8
        store.write(path, bytes(flipped))
        with pytest.raises(DamagedError, match=r"evaluations/00000012\.arrow is damaged"):
            read_scores(store, "news", "00000012")
    sink = pa.BufferOutputStream()
    with pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)
    store.write(path, sink.getvalue().to_pybytes())
    assert read_scores(store, "news", "00000012").equals(table), "a file of an older version"


def test_held_out_text_that_changed_is_never_judged_by(tmp_path):
    lake = make_lake(tmp_path)
    add_window(lake, make_documents(0, FATES * 4))
    for place in tmp_path.glob("documents/*.parquet"):
        rows = pq.read_table(place)
        tokens = rows["tokens"].to_pylist()
        tokens[0] = [number + 1 for number in tokens[0]]
        changed = pa.array(tokens, rows.schema.field("tokens").type)
        pq.write_table(rows.set_column(rows.column_names.index("tokens"), rows.schema.field("tokens"), changed), place)
    with pytest.raises(DamagedError, match=r"window 0 of .*tokens of the held_out documents changed"):
        collect(lake, last_window=0)
