"""Does the audit notice every way in which a lake can be wrong, and nothing in one that is right?"""

import functools
import json
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest

from cluster.storage.store import Store
from data_ops.audit.account import STATES, Stand, account, check_rounds
from data_ops.audit.spans import read_records
from data_ops.documents.place import Documents, Place
from data_ops.lake.lake import Lake
from data_ops.lake.log import LOG_COLUMNS
from data_ops.rounds.config import RoundConfig
from data_ops.rounds.layout import Layout
from data_ops.rounds.manifest import Shape
from data_ops.rounds.plan import PlanInput, plan_round
from ray_jobs.command_line.reading import read_run
from ray_jobs.commands.verify import verify
from ray_jobs.config.schema import Config
from ray_jobs.outcome import ConfigError
from tests.data_ops.rounds.test_plan import after, places
from tests.support.lakes import add_window, made_once, make_documents, make_lake, window_of

FATES = ["kept", "dropped", "kept", "held_out", "kept", "quarantined", "kept", "kept"]
WINDOWS = 4
ROUNDS = 3  # the documents behind them are pending
SHAPE = Shape(row_tokens=8, batch_rows=2)


@functools.cache
def table_of(window):
    return make_documents(window, FATES, window * len(FATES))


def make_tables():
    return [table_of(n) for n in range(WINDOWS)]


def make_windows():
    return [window_of(table) for table in make_tables()]


@made_once
def unbent_windows(folder):
    lake = make_lake(folder)
    for table in make_tables():
        add_window(lake, table)


def log_of(tables):
    log = pa.concat_tables(tables).select([*LOG_COLUMNS, "fate"])
    return log.filter(pa.compute.equal(log["fate"], "kept"))


def make_manifests(tables, most=ROUNDS, **config):
    """The first rounds of an honest planner."""
    settings = RoundConfig(tokens=48, replay_share=0.25, **config)
    log, place, manifests = log_of(tables), Place(), []
    everything = Documents.from_table(log)
    while len(manifests) < most and (pending := after(log, place)).num_rows:
        number = len(manifests)
        earlier = everything.take(everything.windows < pending["window"][0].as_py())
        manifests.append(plan_round(PlanInput(settings, SHAPE, 5, earlier, ""), number, place, pending, "tokens"))
        place = manifests[-1].end
    return manifests


class Story:
    """What is written into the lake; a test bends it before it is."""

    def __init__(self, **config):
        self.tables = make_tables()
        self.windows = make_windows()
        self.manifests = make_manifests(self.tables, **config)
        self.place = (len(self.manifests) - 1, 1)  # the last commit: in the last planned round, after a step
        self.state = "{}"
        self.kept = FATES.count("kept") * WINDOWS

    def account(self, folder):
        if (self.tables, self.windows) == (make_tables(), make_windows()):
            lake = unbent_windows(folder)
        else:
            lake = make_lake(folder)
            for window, table in zip(self.windows, self.tables, strict=True):
                lake.plan_window(window)
                lake.commit_window(window, table)
        for m in self.manifests:
            lake.add_round("r", m.round, m.to_row())
        if self.place is not None:
            number, step = self.place
            entry = {"step": 1, "round": number, "step_in_round": step, "checkpoint": "r/1", "state": self.state}
            lake.add_ledger("r", entry)
        return account(lake, "r")


@pytest.mark.slow
def test_an_honest_lake_adds_up(tmp_path):
    story = Story()
    found = story.account(tmp_path)
    assert found.ok, found.problems
    assert (found.lost, found.repeated, found.shed) == (0, 0, 0)
    assert found.read == len(FATES) * WINDOWS
    assert (found.held_out, found.dropped, found.quarantined) == (WINDOWS, WINDOWS, WINDOWS)
    assert found.trained == slow_trained(story.manifests, story.place)
    assert 0 < found.trained < story.kept
    assert found.trained + found.pending == story.kept
    assert found.to_dict()["ok"] is True


def test_a_lake_without_rounds_or_with_another_run_has_everything_pending(tmp_path):
    story = Story()
    story.manifests, story.place = [], None
    found = story.account(tmp_path)
    assert found.ok
    assert (found.trained, found.pending) == (0, story.kept)
    assert account(make_lake(tmp_path / "empty"), "r").ok


def test_shed_documents_are_counted_and_not_lost(tmp_path):
    story = Story(max_backlog_tokens=1)
    found = story.account(tmp_path)
    assert found.ok, found.problems
    assert found.shed == sum(len(m.shed) for m in story.manifests) > 0
    assert found.trained + found.pending + found.shed == story.kept


def without(table, place):
    return table.filter(pa.array(np.arange(table.num_rows) != place))


def missing_document_row(story):
    story.tables[1] = without(story.tables[1], 4)


def missing_pending_row(story):
    story.tables[-1] = without(story.tables[-1], len(FATES) - 1)


def missing_partition(story):
    story.tables[1] = story.tables[1].slice(0, 0)


def repeated_document_row(story):
    again = make_documents(3, ["kept"], 3 * len(FATES) + 2, position=len(FATES))
    story.tables[3] = pa.concat_tables([story.tables[3], again])


def record_read_by_two_windows(story):
    again = make_documents(3, ["kept"], 2, position=len(FATES))
    story.tables[3] = pa.concat_tables([story.tables[3], again])


def planned_in_two_rounds(story):
    one, two = story.manifests[:2]
    story.manifests[1] = replace(two, fresh=two.fresh.join(one.fresh.take(np.array([0]))))


def planned_and_shed(story):
    one, two = story.manifests[:2]
    story.manifests[1] = replace(two, shed=one.fresh.take(np.array([0])))


def not_planned(story):
    one = story.manifests[0]
    story.manifests[0] = replace(one, fresh=one.fresh.take(np.arange(1, len(one.fresh))))


def put_in_place_of_the_first(story, fate):
    one = story.manifests[0]
    positions = one.fresh.positions.copy()
    positions[0] = FATES.index(fate)
    story.manifests[0] = replace(one, fresh=replace(one.fresh, positions=positions))


def held_out_planned(story):
    put_in_place_of_the_first(story, "held_out")


def dropped_planned(story):
    put_in_place_of_the_first(story, "dropped")


def first_round_missing(story):
    del story.manifests[0]


def round_missing(story):
    del story.manifests[1]


def last_round_missing(story):
    del story.manifests[-1]


def gap_between_rounds(story):
    two = story.manifests[1]
    story.manifests[1] = replace(two, start=Place(two.start.window, two.start.position + 1))


def window_missing(story):
    del story.tables[2], story.windows[2]


def span_missing(story):
    window = story.windows[2]
    spans = {"mine": [replace(s, first_record=s.first_record + 1) for s in window.spans["mine"]]}
    story.windows[2] = replace(window, spans=spans)


def counts_wrong(story):
    story.windows[2] = replace(story.windows[2], counts={"read": 5})


def trained_beyond_the_round(story):
    story.place = (ROUNDS - 1, story.manifests[-1].steps + 1)


def row_in_another_window(story):
    moved = story.tables[0].slice(7, 1).to_pylist()[0] | {"window": 1, "position": 8}
    story.tables[0] = without(story.tables[0], 7)
    story.tables[1] = pa.concat_tables([story.tables[1], pa.Table.from_pylist([moved], schema=story.tables[1].schema)])


def row_nobody_promised(story):
    story.tables[3] = pa.concat_tables([story.tables[3], make_documents(3, ["dropped"], 999, position=8)])


def kept_twice(story):
    table = story.tables[3]
    ids = table["id"].to_pylist()
    ids[7] = story.tables[0]["id"][0].as_py()  # the last document, which waits for its round, has the first one's text
    story.tables[3] = table.set_column(2, table.schema.field(2), pa.array(ids, table.schema.field(2).type))


def another_id_in_the_round(story):
    one = story.manifests[0]
    ids = one.fresh.ids.copy()
    ids[0, 0] += np.uint64(1)
    story.manifests[0] = replace(one, fresh=replace(one.fresh, ids=ids))


LOST = [missing_document_row, missing_pending_row, missing_partition, not_planned, first_round_missing, round_missing]
REPEATED = [kept_twice, repeated_document_row, record_read_by_two_windows, planned_in_two_rounds, planned_and_shed]
WRONG = {
    held_out_planned: "1 planned documents are not kept ones",
    dropped_planned: "1 planned documents are not kept ones",
    first_round_missing: "round 1 stands where round 0 should",
    round_missing: "round 2 stands where round 1 should",
    last_round_missing: "step 1 of round 2, which",
    gap_between_rounds: "round 1 starts at",
    window_missing: "windows are numbered",
    span_missing: "leave a gap or overlap",
    row_in_another_window: "1 rows stand in another window",
    row_nobody_promised: "1 rows are of records that no window promised",
    kept_twice: "1 documents were kept or held out twice",
    another_id_in_the_round: "1 planned documents have another id",
    counts_wrong: "window 2 says it read 5 of 8",
    trained_beyond_the_round: "of round 2, which",
}


@pytest.mark.slow
@pytest.mark.parametrize("corrupt", dict.fromkeys([*LOST, *REPEATED, *WRONG]), ids=lambda f: f.__name__)
def test_every_corruption_is_noticed(tmp_path, corrupt):
    story = Story()
    corrupt(story)
    found = story.account(tmp_path)
    assert not found.ok
    assert (found.lost > 0) == (corrupt in LOST) or corrupt in WRONG
    assert (found.repeated > 0) == (corrupt in REPEATED)
    if corrupt in WRONG:
        assert any(WRONG[corrupt] in problem for problem in found.problems), found.problems


def test_each_missing_row_is_counted(tmp_path):
    story = Story()
    for place in (6, 5, 2):
        story.tables[0] = without(story.tables[0], place)
    found = story.account(tmp_path)
    assert found.lost == 3
    assert found.read == len(FATES) * WINDOWS


def slow_trained(manifests, place):
    """Fresh documents all of whose pieces lie before `place`, by walking step by step."""
    trained = 0
    for m in manifests:
        layout = Layout(m)
        late = set()
        for step in range(m.steps):
            if (m.round, step) >= place:
                rows = layout.rows_of(step).tolist()
                pieces = zip(layout.packing.row.tolist(), layout.packing.document.tolist(), strict=True)
                late |= {document for row, document in pieces if row in rows}
        trained += sum(document not in late for document in range(len(m.fresh)))
    return trained


@pytest.mark.parametrize("backlog", [None, 1])
def test_trained_and_pending_are_right_after_every_step(tmp_path, backlog):
    tables = make_tables()
    manifests = make_manifests(tables, most=99, max_backlog_tokens=backlog)
    lake = unbent_windows(tmp_path)
    records, kept = read_records(lake, lake.windows()[0]), log_of(tables).num_rows
    counts = []
    for m in manifests:
        assert m.steps > 1
        for step in range(m.steps + 1):
            found = check_rounds(manifests, records, Stand((m.round, step)))
            assert found.counts["trained"] == slow_trained(manifests, (m.round, step))
            assert (found.repeated, found.counts["lost"], found.problems) == (0, 0, [])
            assert sum(found.counts.values()) == kept
            counts.append(found.counts["trained"])
    shed = found.counts["shed"]
    assert counts == sorted(counts)
    assert (counts[0], counts[-1]) == (0, kept - shed)
    whole = check_rounds(manifests, records, Stand((len(manifests), 0)))
    assert (whole.counts["trained"], whole.problems) == (kept - shed, [])
    assert sum(len(places(m.fresh)) for m in manifests) == kept - shed


def test_documents_that_end_in_a_skipped_step_are_skipped_not_trained(tmp_path):
    story = Story()
    story.state = json.dumps(
        {"position": {"skipped": [[0, 1], [ROUNDS - 1, 0], [ROUNDS - 1, 1]]}}
    )  # the last is not committed
    before = slow_trained(story.manifests, story.place)
    found = story.account(tmp_path)
    first, last = (Layout(m).last_steps[: len(m.fresh)] for m in (story.manifests[0], story.manifests[-1]))
    assert found.ok, found.problems
    assert found.skipped == (first == 1).sum() + (last == 0).sum() > 0
    assert found.trained == before - found.skipped
    assert found.read == sum(getattr(found, name) for name in STATES)


class LiveLake(Lake):
    """Another process commits a window whenever the last window is asked for."""

    def last_window(self):
        last = super().last_window()
        add_window(Lake(self.store), make_documents(last + 1, ["kept"] * 3, 3 * (last + 1 - WINDOWS), partition="q"))
        return last


def test_an_ingest_beside_the_audit_is_no_false_alarm(tmp_path):
    story = Story()
    assert story.account(tmp_path).ok
    lake = LiveLake(Store.open(str(tmp_path)))
    last = Lake(lake.store).last_window()
    found = account(lake, "r")
    assert found.ok, found.problems
    assert Lake(lake.store).last_window() > last


def test_a_run_the_store_does_not_have_is_refused(tmp_path):
    story = Story()
    story.account(tmp_path)
    store = Store.open(str(tmp_path))
    assert verify(Config(store=str(tmp_path), name="typo")).trained == 0, "no run at all: what was ingested is audited"
    store.write("runs/r/config.json", b"{}")
    assert verify(Config(store=str(tmp_path), name="r")).ok
    with pytest.raises(ConfigError, match="has no run name=typo; it has r"):
        read_run([], [f"store={tmp_path}", "name=typo"])
