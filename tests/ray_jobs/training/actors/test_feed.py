"""Does a feed that starts anew hand out the same rows, from the round's file and from the lake alone?"""

import numpy as np
import pyarrow as pa
import pytest

from cluster.runtime.actors import Local
from data_ops.lake.lake import Lake
from data_ops.rounds.config import RoundConfig
from data_ops.rounds.manifest import Manifest, Planning, Shape
from data_ops.rounds.masking import RowObjective
from data_ops.sampling.reservoir import ReservoirConfig
from data_ops.sampling.shard import Shard
from ray_jobs.checkpoints import manifest as commits
from ray_jobs.training.actors import feed as feed_module
from ray_jobs.training.actors.feed import BRANCH, Feed, FeedSettings
from ray_jobs.training.actors.round_files import RoundFiles
from tests.support.checkpoints import commit_at
from tests.support.lakes import add_window, fill_lake, make_documents, make_lake
from tests.support.runs import wait_until

pytestmark = pytest.mark.slow

RUN, LAST = "news", 5


@pytest.fixture(autouse=True)
def no_head_start(monkeypatch):
    monkeypatch.setattr(feed_module, "HEAD_START_S", 0.0)


@pytest.fixture
def lake(tmp_path):
    lake = make_lake(tmp_path)
    fill_lake(lake, [["kept"] * 40] * (LAST + 1))
    return lake


def new_feed(lake):
    settings = FeedSettings(
        store=lake.store.uri,
        run=RUN,
        plan=Planning(RoundConfig(tokens=400, replay_share=0.4), ReservoirConfig(capacity=60), Shape(32, 4), 3),
        objective=RowObjective(999),
    )
    feed = Feed(settings, lambda *given: Local(Shard(*given)))
    feed.drained(LAST)
    return feed


def rows_of(feed, number, steps, world=2):
    """Everything the ranks get in a round, as one list."""
    return [
        part
        for step in range(steps)
        for rank in range(world)
        for part in feed.batch(BRANCH if number == "branch" else number, step, rank, world)
    ]


def assert_same_rows(a, b):
    for x, y in zip(a, b, strict=True):
        np.testing.assert_array_equal(x, y)


def trained(feed, rounds):
    """The notices and rows of rounds, in the order in which a run asks for them."""
    notices = [feed.round(number) for number in range(rounds)]
    return notices, [rows_of(feed, number, notice.steps) for number, notice in enumerate(notices)]


def wait_for(there):
    wait_until(there, 60, lambda: "it did not come about")


def closed_lake(monkeypatch):
    """Let any look into a table fail."""
    monkeypatch.setattr(Lake, "table", lambda self, name: pytest.fail(f"the table {name} was opened"))


def test_a_restarted_feed_needs_nothing_but_the_file_of_its_round(lake, monkeypatch):
    notices, rows = trained(new_feed(lake), 3)
    path = "runs/news/rounds/00000002.arrow"
    wait_for(lambda: lake.store.exists(path))
    monkeypatch.setattr(feed_module, "HEAD_START_S", 60.0)
    closed_lake(monkeypatch)
    again = new_feed(lake)
    assert again.round(2) == notices[2]
    assert_same_rows(rows_of(again, 2, notices[2].steps), rows[2])
    assert again.batch(2, 1, 0, 1).predictions == rows[2][2 * 6 + 1]  # rows[2]: 6 parts a rank, 2 ranks a step


def add_talks(lake):
    """Windows in which every second document is a conversation: its first tokens are read and not learnt."""
    for number in range(LAST + 1):
        documents = make_documents(number, ["kept"] * 40, 40 * number)
        tokens = [
            [~t if n < 3 and place % 2 else t for n, t in enumerate(row)]
            for place, row in enumerate(documents["tokens"].to_pylist())
        ]
        at = documents.schema.get_field_index("tokens")
        talks = pa.array(tokens, documents.schema.field(at).type)
        add_window(lake, documents.set_column(at, documents.schema.field(at), talks))


def test_rows_of_conversations_are_the_same_after_a_restart_and_their_labels_are_counted(tmp_path):
    """From the file of the round, and from the lake alone; replayed ones come from the reservoir's shards."""
    lake, other = make_lake(tmp_path / "a"), make_lake(tmp_path / "b")
    add_talks(lake)
    add_talks(other)
    feed = new_feed(lake)
    notices, rows = trained(feed, 3)
    assert any(len(Manifest.from_row(lake.rounds(RUN, n), 0).replay) for n in range(3))
    for number in range(3):
        again = new_feed(other)
        assert again.round(number) == notices[number]
        assert_same_rows(rows_of(again, number, notices[number].steps), rows[number])
    wait_for(lambda: lake.store.exists("runs/news/rounds/00000002.arrow"))
    assert_same_rows(rows_of(new_feed(lake), 2, notices[2].steps), rows[2])
    context = 0
    for step in range(notices[0].steps):
        batch = feed.batch(0, step, 0, 1)
        assert batch.predictions == (batch.rows.labels != -100).sum()
        context += batch.positions - batch.predictions
        assert (batch.rows.inputs >= 0).all()
    assert context > 0


@pytest.mark.slow
@pytest.mark.parametrize("harm", ["missing", "torn", "flipped", "of another round"])
def test_rows_are_the_same_when_the_file_is_of_no_use(lake, caplog, harm):
    notices, rows = trained(new_feed(lake), 3)
    path, other = (f"runs/news/rounds/0000000{n}.arrow" for n in (2, 1))
    wait_for(lambda: lake.store.exists(path) and lake.store.exists(other))
    whole = lake.store.read(path)
    lake.store.delete(path)
    if harm != "missing":
        flipped = whole[:500] + bytes([whole[500] ^ 1]) + whole[501:]
        lake.store.write(path, {"torn": whole[:-9], "flipped": flipped}.get(harm, lake.store.read(other)))
    again = new_feed(lake)
    assert again.round(2) == notices[2]
    assert_same_rows(rows_of(again, 2, notices[2].steps), rows[2])
    warnings = [record for record in caplog.records if record.levelname == "WARNING"]
    assert len(warnings) == (0 if harm == "missing" else 1)
    wait_for(lambda: lake.store.exists(path) and lake.store.read(path) == whole)  # it is mended behind the batches


@pytest.mark.slow
def test_the_rounds_after_a_restart_are_those_of_a_feed_that_never_stopped(lake, tmp_path):
    straight, _ = trained(new_feed(lake), 4)
    other = make_lake(tmp_path / "other")
    fill_lake(other, [["kept"] * 40] * (LAST + 1))
    for number in range(4):
        assert new_feed(other).round(number) == straight[number]
    recorded = [table.drop_columns(["run"]).to_pylist() for table in (lake.rounds(RUN), other.rounds(RUN))]
    assert recorded[0][:4] == recorded[1][:4]


def test_a_decay_branch_is_found_again_in_its_file(lake, monkeypatch):
    feed = new_feed(lake)
    feed.round(0)
    notice = feed.branch(8, 1, 300)
    rows = rows_of(feed, "branch", notice.steps)
    monkeypatch.setattr(feed_module, "HEAD_START_S", 60.0)
    closed_lake(monkeypatch)
    again = new_feed(lake)
    assert again.branch(8, 1, 300) == notice
    assert_same_rows(rows_of(again, "branch", notice.steps), rows)


def test_a_branch_draws_from_what_its_rounds_have_used_up_however_much_has_come_since(lake, tmp_path):
    late = new_feed(lake)
    notices, _ = trained(late, 3)
    wait_for(lambda: lake.num_rounds(RUN) == 4)  # planned ahead, while the branch leaves before round 2
    late.branch(8, 2, 300)
    early = make_lake(tmp_path / "early")
    fill_lake(early, [["kept"] * 40] * (notices[1].last_window + 1))
    feed = new_feed(early)
    trained(feed, 2)
    feed.branch(8, 2, 300)
    branches = [Manifest.from_row(found.rounds("news@00000008", 0), 0) for found in (lake, early)]
    assert branches[0].to_row() == branches[1].to_row()
    assert branches[0].end == Manifest.from_row(lake.rounds(RUN, 1), 0).end
    assert late.branch(9, 2, 0).steps == 0, "an average leaves a branch too, which trains nothing"


def test_a_file_that_cannot_be_written_is_said_once_and_training_goes_on(lake, caplog):
    lake.store.write("runs/news/rounds", b"a file where the folder should be")
    feed = new_feed(lake)
    notices, rows = trained(feed, 3)
    for number, notice in enumerate(notices):
        assert notice.steps > 0 and rows[number]
    wait_for(lambda: feed.files.told)
    feed.files.keep(2, feed.prepared[2].layout.manifest, feed.prepared[2].text)
    assert caplog.text.count("a restart will have to read its round from the lake") == 1


def test_files_of_rounds_that_no_checkpoint_would_go_on_with_are_deleted(lake):
    feed = new_feed(lake)
    trained(feed, 3)
    names = [f"runs/news/rounds/0000000{n}.arrow" for n in range(4)]
    wait_for(lambda: all(map(lake.store.exists, names[:3])))
    files = RoundFiles(lake.store, RUN)
    files.sweep()
    assert all(map(lake.store.exists, names[:3])), "without a checkpoint all are needed"
    for step, number in ((3, 0), (9, 2)):
        commits.publish(lake.store, commit_at(RUN, step, number, 1))
    lake.store.write("runs/news/checkpoints/00000012.json", b"torn")
    files.sweep()
    assert [lake.store.exists(name) for name in names[:3]] == [True, False, True]


@pytest.mark.slow
def test_while_nothing_can_be_planned_the_lake_is_looked_into_only_now_and_then(lake, monkeypatch):
    feed = new_feed(lake)
    feed.drained_at = None
    number = 0
    while feed.round(number) is not None:
        number += 1
    looks = []
    monkeypatch.setattr(Lake, "last_window", lambda self: looks.append(1) or LAST)
    for _ in range(50):
        assert feed.round(number) is None
    assert len(looks) <= 1
    feed.drained(LAST)
    assert feed.round(number) is not None, "news of the sources' end is heard at once"
