"""Is a forgotten document gone from the disk and from every future round, whenever the command is killed?"""

import os
import signal
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable
from deltalake.table import TableAlterer
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cluster.storage.store import Store
from data_ops.audit.account import account
from data_ops.curation.config import CurateConfig
from data_ops.documents.document import document_id
from data_ops.documents.frontier import Frontier
from data_ops.documents.place import Documents, Place
from data_ops.index.folder import KNOWN_SKETCHES
from data_ops.ingest.seen import Histories
from data_ops.kernels.arrays import array_to_ids, ids_to_array
from data_ops.kernels.id_sets import is_member
from data_ops.lake import erase
from data_ops.lake.lake import Lake
from data_ops.lake.log import TOKEN_COLUMNS, tokens_in_order
from data_ops.lake.schemas import SCHEMAS
from data_ops.rounds.config import RoundConfig
from data_ops.rounds.layout import Layout
from data_ops.rounds.manifest import Shape
from data_ops.rounds.plan import PlanInput, plan_round
from data_ops.sampling.reservoir import ReservoirConfig
from data_ops.sampling.shard import Shard, merge_shards
from ray_jobs.commands import forget as job
from ray_jobs.commands.forget import forget, forget_lines, hex_ids, parse_ids, read_ids
from ray_jobs.config.schema import Config
from ray_jobs.outcome import ConfigError
from ray_jobs.store.access import exclusive, refuse_while_forgetting, shared
from ray_jobs.store.lease import Heart, acquire
from tests.data_ops.audit.test_account import SHAPE, Story
from tests.data_ops.index.often_kept import OftenKeptNear
from tests.support.imports.forks import fork_server
from tests.support.lakes import add_window, made_once, make_documents, make_lake

pytestmark = pytest.mark.slow

FATES = ["kept", "dropped", "kept", "held_out", "kept", "quarantined", "kept", "kept"]
WINDOWS = 3
GONE = [2, 3, 8 + 4]  # offsets: two kept ones and a held-out one


def text_of(offset):
    return f"mine/p/{offset}"


def id_of(offset):
    return document_id(text_of(offset)).hex()


def ids_of(offsets):
    return ids_to_array(pa.array([bytes.fromhex(id_of(o)) for o in offsets], pa.binary(16)))


def with_external(table):
    names = [f"ticket-{o}" for o in table["offset"].to_pylist()]
    return table.set_column(table.column_names.index("external_id"), "external_id", pa.array(names))


@made_once
def fill(folder):
    """Three windows, a dropped duplicate of a document, and a run's prepared texts."""
    lake = make_lake(folder)
    for number in range(WINDOWS):
        table = with_external(make_documents(number, FATES, 8 * number))
        if number == 2:
            ids = table["id"].to_pylist()
            ids[1] = bytes.fromhex(id_of(GONE[0]))  # the dropped row repeats a document
            table = table.set_column(2, table.schema.field(2), pa.array(ids, table.schema.field(2).type))
        add_window(lake, table)
    lake.store.write("runs/r/config.json", b"{}")
    lake.store.write("runs/r/rounds/00000000.arrow", b"texts")
    return lake


def config_of(folder):
    return Config(store=str(folder), name="r")


def on_disk(folder):
    """Every text and external id in any Parquet file, and all bytes of the log's other files."""
    values, raw = set(), b""
    for path in Path(folder).rglob("*"):
        if path.is_file() and path.suffix == ".parquet":
            table = pq.read_table(path)
            values |= {str(v) for c in ("text", "external_id") if c in table.column_names for v in table[c].to_pylist()}
            raw += b"" if c_is_data(table) else str(table.to_pylist()).encode()
        elif path.is_file():
            raw += path.read_bytes()
    return values, raw


def c_is_data(table):
    return "text" in table.column_names


def assert_gone(folder):
    values, raw = on_disk(folder)
    for offset in GONE:
        for value in (text_of(offset), f"ticket-{offset}"):
            assert value not in values
            assert f'"{value}"'.encode() not in raw and f'\\"{value}\\"'.encode() not in raw
    assert text_of(4) in values, "the others are still there"


def sketched(folder):
    """Of which documents, gone ones and another one, the files for near duplicates tell something."""
    files = [path.read_bytes() for path in (Path(folder) / KNOWN_SKETCHES).iterdir()]
    return [any(ids_of([offset])[0, 0].tobytes() in data for data in files) for offset in (*GONE, 4)]


def shown(lake):
    rows = lake.documents(0, 99, ["offset", "fate", "reason", "text", "tokens", "external_id", "num_tokens", "id"])
    return rows.to_pylist()


def assert_hidden(lake):
    rows = shown(lake)
    assert len(rows) == WINDOWS * len(FATES), "places stay"
    for row in rows:
        if row["offset"] in GONE:
            lived = "held_out" if row["offset"] == 3 else "kept"
            assert (row["fate"], row["reason"]) == ("forgotten", lived)
            assert (row["text"], row["tokens"], row["external_id"], row["num_tokens"]) == (None, None, None, 0)
            assert row["id"].hex() == id_of(row["offset"])
        elif row["offset"] == 17:
            assert (row["fate"], row["reason"], row["external_id"]) == ("dropped", "too_short", None)
        else:
            assert row["external_id"] == f"ticket-{row['offset']}"
    assert set(GONE) & {r["offset"] for r in rows if r["fate"] in ("kept", "held_out")} == set()
    kept = lake.documents(0, 99, ["offset"], ["kept"])["offset"].to_pylist()
    assert len(kept) == 5 * WINDOWS - 2
    assert 3 not in lake.documents(0, 99, ["offset"], ["held_out"])["offset"].to_pylist()
    assert sorted(lake.documents(0, 99, ["offset"], ["forgotten"])["offset"].to_pylist()) == sorted(GONE)


def test_a_forgotten_document_leaves_its_place_and_nothing_else(tmp_path):
    lake = fill(tmp_path)
    done = forget(config_of(tmp_path), [id_of(o) for o in GONE])
    assert (done["forgotten"], done["already"], done["rows"], done["copies"]) == (3, 0, 4, 1)
    assert_hidden(lake)
    assert_gone(tmp_path)
    assert not lake.store.exists("runs/r/rounds")
    found = account(lake, "r")
    assert found.ok, found.problems
    assert (found.forgotten, found.pending, found.held_out) == (3, 13, 2)
    again = forget(config_of(tmp_path), [id_of(GONE[0])])
    assert (again["forgotten"], again["already"], again["rows"]) == (1, 1, 0)
    assert add_window(lake, make_documents(3, ["kept"], 24)), "ingest goes on, its transactions are known"
    assert not lake.commit_window(*window_again(lake)), "and a repeated window is still refused"
    assert "forgotten 1 documents (1 of them before): 0 rows" in forget_lines(again)[0]


def test_a_copy_that_a_killed_run_had_not_finished_goes_too(tmp_path):
    lake = fill(tmp_path)
    whole, beside = tmp_path / "runs/r/rounds/.00000000.arrow.ab12.aside", tmp_path / "runs/s/rounds/.1.arrow.cd.aside"
    elsewhere = tmp_path / "runs/s/checkpoints/.weights.ef.aside"
    for path in (whole, beside, elsewhere):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("tokens")
    assert not any("aside" in path for path in lake.store.list("runs")), "nothing shows them"
    assert forget(config_of(tmp_path), [id_of(GONE[0])])["copies"] == 3
    assert not (tmp_path / "runs/r/rounds").exists() and not (tmp_path / "runs/s/rounds").exists()
    assert elsewhere.exists(), "what holds no text is not its business"


def window_again(lake):
    from tests.support.lakes import window_of

    documents = make_documents(2, FATES, 16)
    return window_of(documents), documents


def test_text_is_hidden_from_the_moment_the_tombstone_is_written(tmp_path):
    lake = fill(tmp_path)
    assert lake.forget(ids_of(GONE)) == 3
    assert lake.forget(ids_of(GONE)) == 0
    assert erase.unerased(lake) == {0: 2, 1: 1, 2: 1}
    assert_hidden(lake)
    lake_of_today = shown(lake)
    forget(config_of(tmp_path), [id_of(GONE[0])])
    assert erase.unerased(lake) == {}
    assert shown(lake) == lake_of_today, "the rewritten rows are those that were shown before"


def forget_and_die(folder, point, names):
    """Forget documents in a process that ends by SIGKILL before or behind one act."""
    act, when = point.split("-")
    owner, name = {
        "tombstones": (Lake, "forget"),
        "rewrite": (erase, "write_deltalake"),
        "vacuum": (DeltaTable, "vacuum"),
        "alter": (TableAlterer, "set_table_properties"),
        "checkpoint": (DeltaTable, "create_checkpoint"),
        "log": (DeltaTable, "cleanup_metadata"),
        "sketches": (job, "forget_sketches"),
        "copies": (job, "delete_copies"),
        "seen": (job, "seen_by"),
    }[act]
    real = getattr(owner, name)

    def dies(*given, **named):
        if when == "before":
            os.kill(os.getpid(), signal.SIGKILL)
        real(*given, **named)
        os.kill(os.getpid(), signal.SIGKILL)

    setattr(owner, name, dies)
    forget(config_of(folder), names)


ACTS = ("tombstones", "rewrite", "vacuum", "alter", "checkpoint", "log", "sketches", "copies", "seen")
POINTS = ["tombstones-before", *(f"{act}-after" for act in ACTS)]  # behind one act is before the next


@pytest.mark.slow
@pytest.mark.parametrize("point", POINTS)
def test_a_kill_at_any_point_is_completed_by_the_same_command(tmp_path, point):
    lake = fill(tmp_path)
    Histories(lake, {"near_duplicate": OftenKeptNear()}).advance(WINDOWS - 1)
    assert sketched(tmp_path) == [True] * 4
    names = [id_of(o) for o in GONE]
    processes = fork_server(__name__)  # delta's threads forbid a fork of this process
    killed = processes.Process(target=forget_and_die, args=(tmp_path, point, names))
    killed.start()
    killed.join()
    assert killed.exitcode == -signal.SIGKILL
    if point != "tombstones-before":
        assert_hidden(lake)
    assert account(lake, "r").ok
    done = forget(config_of(tmp_path), names)
    assert done["forgotten"] == 3
    assert_hidden(lake)
    assert_gone(tmp_path)
    assert sketched(tmp_path) == [False, False, False, True]
    assert not lake.store.exists("runs/r/rounds")
    table = lake.table("documents")
    assert table.metadata().configuration["delta.logRetentionDuration"] == "interval 1 hours"


def test_a_store_of_an_older_version_forgets_too(tmp_path):
    from data_ops.lake import tables

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tables, "properties", lambda name: {})
        patch.delitem(SCHEMAS, "forgotten")
        lake = fill(tmp_path)
    log = b"".join(p.read_bytes() for p in (tmp_path / "documents" / "_delta_log").glob("*.json"))
    assert text_of(2).encode() in log, "the old log quotes texts"
    assert not DeltaTable.is_deltatable(str(tmp_path / "forgotten"))
    forget(config_of(tmp_path), [id_of(o) for o in GONE])
    assert_hidden(lake)
    assert_gone(tmp_path)


def test_an_unknown_id_changes_nothing(tmp_path):
    lake = fill(tmp_path)
    before = on_disk(tmp_path / "documents")
    for names, why in (
        ([id_of(2), "ab" * 16], "has never read a document abababab"),
        ([id_of(2)[:12]], "is no id of 32 hexadecimal digits; `headrace trace"),
        ([], "no document is named"),
    ):
        with pytest.raises(ConfigError, match=why):
            forget(config_of(tmp_path), names)
    assert on_disk(tmp_path / "documents") == before
    assert len(lake.forgotten()) == 0
    with pytest.raises(ConfigError, match="holds no documents"):
        forget(config_of(tmp_path / "none"), [id_of(2)])
    assert not (tmp_path / "none").exists()


def test_ids_are_read_from_a_file_with_remarks(tmp_path):
    (tmp_path / "ids.txt").write_text(f"# asked for on Monday\n\n{id_of(2)}  # ticket\n{id_of(3).upper()}\n")
    names = read_ids(str(tmp_path / "ids.txt"))
    assert sorted(hex_ids(parse_ids([*names, *names]))) == sorted([id_of(2), id_of(3)])
    with pytest.raises(ConfigError, match="cannot be read"):
        read_ids(str(tmp_path / "none.txt"))


def test_nothing_is_forgotten_while_a_run_or_an_ingest_is_at_work(tmp_path):
    lake = fill(tmp_path)
    heart = Heart(lake.store, acquire(lake.store, "other"))
    with pytest.raises(ConfigError, match="run other is at work"):
        forget(config_of(tmp_path), [id_of(2)])
    heart.release()
    with shared(lake.store), pytest.raises(ConfigError, match="an ingest is at work"):
        forget(config_of(tmp_path), [id_of(2)])
    assert len(lake.forgotten()) == 0
    with exclusive(lake.store):
        with pytest.raises(ConfigError, match="are being forgotten"):
            refuse_while_forgetting(lake.store)
        with pytest.raises(ConfigError, match="are being forgotten"), shared(lake.store):
            pass
        with pytest.raises(ConfigError, match="another `headrace forget`"):
            forget(config_of(tmp_path), [id_of(2)])
    forget(config_of(tmp_path), [id_of(2)])
    assert not [p for p in lake.store.list("runs") if "@ingest" in p], "what a killed or refused ingest left is gone"


def test_the_same_text_is_never_taken_in_again(tmp_path):
    lake = fill(tmp_path)
    forget(config_of(tmp_path), [id_of(2)])
    ids = array_to_ids(ids_of([2, 4, 99]))
    seen = Histories(lake, CurateConfig().remembered)
    assert seen.look(3, ids, {"duplicate": pa.table({"id": ids})}).to_pylist() == ["forgotten", "duplicate", None]


def planned(lake, batch_rows=2):
    """A round of fresh and replayed documents, with their tokens."""
    columns = ["id", "window", "position", "num_tokens", "weight"]
    log = lake.documents(0, 99, columns, ["kept"])
    late = log.filter(pa.array(log["window"].to_numpy() > 0))
    early = Documents.from_table(log.filter(pa.array(log["window"].to_numpy() == 0)))
    config = RoundConfig(tokens=120, replay_share=0.25)
    return plan_round(PlanInput(config, Shape(8, batch_rows), 5, early, ""), 0, Place(1, 0), late, "tokens")


def rows_of(lake, manifest, gone):
    layout = Layout(manifest, is_member(manifest.documents.ids, gone))
    tables = [lake.documents(0, 99, TOKEN_COLUMNS, ["kept"])]
    tokens, offsets = tokens_in_order(tables, manifest.documents, layout.blank)
    rows = layout.rows_of(0, 0, manifest.steps * manifest.batch_rows)
    steps = [layout.fill(layout.rows_of(s), manifest.batch_rows, tokens, offsets, 255) for s in range(manifest.steps)]
    predictions = [layout.predictions(s, tokens, offsets) for s in range(manifest.steps)]
    assert len(rows) <= manifest.batch_rows
    return layout, [np.concatenate(part) for part in zip(*steps, strict=True)], predictions


def test_a_recorded_round_keeps_every_other_row_to_the_bit(tmp_path):
    lake = fill(tmp_path)
    manifest = planned(lake)
    gone = manifest.documents.ids[[0, len(manifest.fresh)]]  # a fresh and a replayed one
    none = np.empty((0, 2), np.uint64)
    _, before, all_predictions = rows_of(lake, manifest, none)
    forget(config_of(tmp_path), hex_ids(gone))
    layout, after, predictions = rows_of(lake, manifest, lake.forgotten())
    inputs, labels, segments = before
    changed = (inputs != after[0]) | (labels != after[1])
    assert (segments == after[2]).all()
    lengths = manifest.documents.lengths[layout.blank]
    assert layout.blank.sum() == 2 and sum(all_predictions) - sum(predictions) == lengths.sum()
    assert (labels != -100).sum() - (after[1] != -100).sum() == lengths.sum()
    assert predictions == [(after[1][2 * s : 2 * s + 2] != -100).sum() for s in range(manifest.steps)]
    assert (after[0][changed] == 255).all() and (after[1][changed] == -100).all()
    with pytest.raises(ValueError, match="lacks text of some"):
        rows_of(lake, manifest, gone[:1])
    everything = np.concatenate([manifest.documents.ids])
    _, blank, predictions = rows_of(lake, manifest, everything)
    assert (blank[1] == -100).all() and sum(predictions) == 0


@pytest.mark.slow
@settings(max_examples=8, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(gone=st.sets(st.integers(0, 119), min_size=1, max_size=119), shards=st.integers(1, 3))
def test_the_sample_is_that_of_a_lake_that_never_had_it(tmp_path_factory, gone, shards):
    config = ReservoirConfig(capacity=20, half_life=(100 * 86400.0, None), shards=shards)
    samples = []
    for never in (False, True):
        folder = tmp_path_factory.mktemp("lake")
        lake = make_lake(folder)
        for number in range(2):
            fates = ["dropped" if never and 60 * number + i in gone else "kept" for i in range(60)]
            add_window(lake, make_documents(number, fates, 60 * number))
        if not never:
            forget(config_of(folder), [id_of(o) for o in gone])
        each = [Shard(lake, config, 11, number) for number in range(shards)]
        samples.append(merge_shards(config, 11, [shard.state(Frontier.through(1)) for shard in each]))
    assert samples[0].fingerprint == samples[1].fingerprint
    for name, column in vars(samples[0].documents).items():
        np.testing.assert_array_equal(column, getattr(samples[1].documents, name))
    assert not np.isin(samples[0].documents.windows * 60 + samples[0].documents.positions, list(gone)).any()


def test_documents_of_recorded_rounds_add_up_as_forgotten(tmp_path):
    story = Story()
    before = story.account(tmp_path)
    assert before.ok
    lake = Lake(Store.open(str(tmp_path)))
    trained = story.manifests[0].fresh.ids[:2]
    waiting = story.manifests[-1].fresh.ids[-1:]
    done = forget(config_of(tmp_path), hex_ids(np.concatenate([trained, waiting])))
    after = account(lake, "r")
    assert after.ok, after.problems
    assert (after.forgotten, after.read) == (3, before.read)
    assert after.trained + after.pending == before.trained + before.pending - 3
    assert [c["checkpoint"] for c in done["checkpoints"]] == ["r/1"]
    assert SHAPE.batch_rows == 2
