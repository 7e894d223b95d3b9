"""Does a program see what counts, and nothing that was forgotten?"""

import pytest

import headrace
from data_ops.kernels.arrays import ids_to_array
from data_ops.lake.lake import Lake
from ray_jobs.outcome import ConfigError
from tests.support.small_store import RUN, make_store


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    return make_store(tmp_path_factory.mktemp("store"))


@pytest.fixture
def opened(config):
    return headrace.open(config.store)


@pytest.mark.slow
def test_documents_are_the_kept_ones_in_order_and_what_was_forgotten_is_gone(opened):
    everything = opened.documents(["id", "window", "position", "fate", "text"], headrace.FATES).arrow()
    kept = everything.filter([fate == "kept" for fate in everything["fate"].to_pylist()])
    assert opened.documents(["id", "text"]).arrow() == kept.select(["id", "text"])
    assert everything.num_rows == 60 and everything["fate"].to_pylist().count("forgotten") == 1
    places = list(zip(everything["window"].to_pylist(), everything["position"].to_pylist(), strict=True))
    assert places == sorted(places)
    lost = Lake(opened.store).documents(1, 1, ["id", "text"], ["kept"]).slice(0, 1)
    opened.lake.forget(ids_to_array(lost["id"]))
    assert lost["text"][0] not in opened.documents().arrow()["text"], "before its file was rewritten"


@pytest.mark.slow
def test_rows_come_as_arrow_pandas_dictionaries_and_in_pieces(opened):
    table = opened.documents(["id", "source"])
    rows = table.arrow().to_pylist()
    assert list(table) == rows == table.pandas().to_dict("records")
    assert sum(batch.num_rows for batch in table.batches()) == len(rows)
    assert all(len(row["id"]) == 32 for row in rows)


def test_rows_come_as_polars(opened):
    pytest.importorskip("polars")
    assert opened.documents().polars().to_dicts() == list(opened.documents())


def test_rows_come_as_a_data_set(opened):
    pytest.importorskip("datasets")
    assert list(opened.documents().dataset()) == list(opened.documents())


def test_windows_rounds_and_champion_are_told(opened):
    windows = opened.windows().arrow()
    assert sum(windows["read"].to_pylist()) == 60
    for name in ("read",):
        parts = ("kept", "held_out", "dropped", "quarantined")
        assert windows[name].to_pylist() == [sum(row[part] for part in parts) for row in windows.to_pylist()]
    rounds = opened.rounds(RUN).arrow()
    assert rounds["trained_steps"].to_pylist()[0] == 6 and all(n > 0 for n in rounds["fresh_documents"].to_pylist())
    assert opened.champion()["checkpoint"] == f"{RUN}/00000006"
    assert opened.runs == [RUN]


def test_what_is_not_there_is_told_with_what_is(opened, tmp_path):
    with pytest.raises(ConfigError, match=r"column 'txt' is unknown; there are window, .*text"):
        opened.documents(["txt"])
    with pytest.raises(ConfigError, match="fate 'keep' is unknown; there are kept"):
        opened.documents(fates=["keep"])
    with pytest.raises(ConfigError, match="has no run other; it has small"):
        opened.rounds("other")
    with pytest.raises(ConfigError, match="holds no lake"):
        headrace.open(str(tmp_path))


def test_verify_is_that_of_the_command(opened, config):
    account = headrace.verify(config.store)
    assert (account.run, account.ok, account.read) == (RUN, True, 60)
    with pytest.raises(ValueError, match="no run other"):
        headrace.verify(config.store, "other")
