"""Does `headrace trace` tell the whole story of a document, whichever name it is asked by?"""

import json

import pyarrow as pa
import pytest

from cluster.storage.store import Store
from data_ops.documents.frontier import Frontier
from data_ops.documents.place import Documents
from data_ops.lake.lake import Lake
from data_ops.rounds.config import RoundConfig
from data_ops.rounds.layout import Layout
from data_ops.rounds.plan import PlanInput, plan_branch
from ray_jobs.commands.forget import forget
from ray_jobs.commands.tracing import trace, trace_lines
from ray_jobs.config.schema import Config
from ray_jobs.outcome import ConfigError
from tests.data_ops.audit.test_account import SHAPE, Story, log_of
from tests.ray_jobs.commands.test_forget import fill, id_of
from tests.support.lakes import add_window, make_documents

pytestmark = pytest.mark.slow


def store_in(folder):
    return str(folder)


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    folder = tmp_path_factory.mktemp("store")
    fill(folder)
    return folder


def test_a_document_is_found_by_id_prefix_external_id_and_place(store):
    names = (id_of(4), id_of(4)[:10], id_of(4).upper(), "mine:p:4", "ticket-4")
    stories = [trace(store_in(store), [name]) for name in names]
    assert all(story == stories[0] for story in stories)
    story = stories[0]
    assert (story["id"], story["source"], story["partition"], story["offset"]) == (id_of(4), "mine", "p", 4)
    assert (story["window"], story["position"], story["external_id"]) == (0, 4, "ticket-4")
    assert story["event_time"].startswith("2024-01-05") and story["arrived"].startswith("2024-01-01T00:00:00")
    assert (story["fate"], story["preview"], story["runs"], story["champion"]) == ("kept", "mine/p/4", [], None)
    assert "fate       kept" in trace_lines(story)
    json.dumps(story)


def test_a_dropped_duplicate_names_the_document_it_repeats(tmp_path):
    lake = fill(tmp_path)
    row = make_documents(3, ["dropped"], 24).to_pylist()[0] | {"id": bytes.fromhex(id_of(4)), "reason": "duplicate"}
    add_window(lake, pa.Table.from_pylist([row], schema=make_documents(0, []).schema))
    again = trace(store_in(tmp_path), ["mine:p:24"])
    assert (again["fate"], again["reason"], again["repeats"]) == ("dropped", "duplicate", "mine:p:4")
    assert again["meaning"] == "texts that were kept or held out before, to the last character"
    assert any(
        "(duplicate: texts that were kept or held out before, to the last character)" in line
        for line in trace_lines(again)
    )
    assert trace(store_in(tmp_path), [id_of(4)])["repeated_by"] == ["mine:p:24"]
    assert any("the same text as mine:p:4" in line for line in trace_lines(again))


def test_a_record_that_could_not_be_read_is_found_by_its_place(store):
    story = trace(store_in(store), ["mine:p:5"])
    assert (story["id"], story["fate"], story["reason"]) == (None, "quarantined", "too_short")
    assert trace_lines(story)[0] == "document   no id: it could not be read"


@pytest.mark.parametrize("name", ["f" * 32, "mine:p:999", "other:p:4", "ticket-999", "abc"])
def test_what_the_store_has_not_read_is_said_in_a_sentence(store, name):
    with pytest.raises(ConfigError, match=f"has read no document {name}; give its id"):
        trace(store_in(store), [name])


def test_a_name_of_several_documents_is_refused_with_their_ids(tmp_path):
    lake = fill(tmp_path)
    rows = [r | {"external_id": "ticket-4"} for r in make_documents(3, ["kept"], 24).to_pylist()]
    add_window(lake, pa.Table.from_pylist(rows, schema=make_documents(0, []).schema))
    with pytest.raises(ConfigError, match=f"ticket-4 may be 2 documents: {id_of(4)}, {id_of(24)}; name one"):
        trace(store_in(tmp_path), ["ticket-4"])
    with pytest.raises(ConfigError, match="2 are named"):
        trace(store_in(tmp_path), ["a", "b"])


@pytest.mark.slow
def test_rounds_steps_checkpoints_and_champion_are_told(tmp_path):
    story = Story()
    story.account(tmp_path)  # writes the lake, with a commit after step 1 of the last round
    lake = Lake(Store.open(str(tmp_path)))
    names = {}
    for m in story.manifests:
        layout = Layout(m)
        for place in range(len(m.documents)):
            pieces = set(layout.packing.row[layout.packing.document == place].tolist())
            steps = [s for s in range(m.steps) if pieces & set(layout.rows_of(s).tolist())]
            part = "fresh" if place < len(m.fresh) else "replay"
            key = m.documents.ids[place].astype(">u8").tobytes().hex()
            names.setdefault(key, []).append({"round": m.round, "as": part, "steps": steps})
    assert any(len(rounds) > 1 for rounds in names.values()), "some are replayed"
    seen = {}
    for name, rounds in names.items():
        found = trace(store_in(tmp_path), [name])
        assert [run["run"] for run in found["runs"]] == ["r"]
        assert found["runs"][0]["rounds"] == rounds
        last = rounds[0]["round"], rounds[0]["steps"][-1]
        assert found["runs"][0]["state"] == ("trained" if last < story.place else "pending")
        seen[name] = [c["checkpoint"] for c in found["runs"][0]["checkpoints"]]
        assert bool(seen[name]) == any((r["round"], r["steps"][0]) < story.place for r in rounds)
    assert [] in seen.values() and ["r/1"] in seen.values()
    lake.store.write("registry/champion.json", b'{"checkpoint": "r/1"}')
    for name, each in seen.items():
        assert trace(store_in(tmp_path), [name])["champion"] == {"checkpoint": "r/1", "seen": bool(each)}


def test_a_branch_has_seen_what_its_main_line_had_seen_and_its_own_replay(tmp_path):
    story = Story()
    story.place = (1, 0)
    story.account(tmp_path)
    lake = Lake(Store.open(str(tmp_path)))
    late = Documents.from_table(log_of(story.tables)).take(slice(-1, None))
    branch = plan_branch(PlanInput(RoundConfig(), SHAPE, 5, late, ""), 1, Frontier(story.manifests[0].end), 32)
    assert len(branch.replay) == 1
    lake.add_round("r@00000001", 0, branch.to_row())
    entry = {"step": 2, "round": 0, "step_in_round": 1, "checkpoint": "r@00000001/2", "state": "{}"}
    lake.add_ledger("r@00000001", entry)
    lake.store.write("runs/r@00000001/checkpoints/00000002.json", b"{}")

    def seen(ids):
        name = ids[0].astype(">u8").tobytes().hex()
        found = trace(store_in(tmp_path), [name])
        checkpoints = [*found["branches"], *(c for run in found["runs"] for c in run["checkpoints"])]
        return sorted((c["checkpoint"], c["kept"]) for c in checkpoints)

    assert seen(story.manifests[0].fresh.ids) == [("r/1", False), ("r@00000001/2", True)]
    assert seen(late.ids) == [("r@00000001/2", True)]
    untouched = story.manifests[1].fresh.ids[-1:]
    assert seen(untouched) == []


def test_a_forgotten_document_is_found_by_id_without_its_text(tmp_path):
    fill(tmp_path)
    forget(Config(store=str(tmp_path), name="r"), [id_of(4)])
    story = trace(store_in(tmp_path), [id_of(4)])
    assert (story["fate"], story["reason"], story["preview"], story["external_id"]) == ("forgotten", "kept", None, None)
    with pytest.raises(ConfigError, match="has read no document ticket-4"):
        trace(store_in(tmp_path), ["ticket-4"])
