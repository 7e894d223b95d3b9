"""Does a loop that is not ours train every document once, whatever kills it, resizes it and grows under it?"""

import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

import headrace
from data_ops.lake.lake import Lake
from ray_jobs.commands.status import status
from ray_jobs.commands.tracing import trace, trace_lines
from ray_jobs.store.lease import RunIsLiveError
from tests.ray_jobs.library.counting_loop import SETTINGS
from tests.ray_jobs.library.fed_store import grow
from tests.support.root import ROOT
from tests.support.runs import free_ports

pytestmark = pytest.mark.slow

GROWTH = 150


class Loops:
    """The ranks of one start of the counting loop."""

    def __init__(self, store: str, folder: Path, world: int, step_s: float) -> None:
        self.folder = folder
        (folder / "step").unlink(missing_ok=True)
        port = str(free_ports(1)[0])
        common = {"WORLD_SIZE": str(world), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "STEP_S": str(step_s)}
        command = [sys.executable, "-m", "tests.ray_jobs.library.counting_loop", store, "mine", str(folder)]
        said = (folder / "said.txt").open("a")
        self.ranks = [
            subprocess.Popen(command, cwd=ROOT, env={**os.environ, **common, "RANK": str(rank)}, stderr=said)
            for rank in range(world)
        ]

    def kill_at(self, steps: int) -> None:
        """SIGKILL every rank once this start has trained so many steps, wherever it is then."""
        seen = self.folder / "step"
        first, deadline = None, time.monotonic() + 120
        while first is None or int(seen.read_text() or first) < first + steps:
            assert time.monotonic() < deadline and all(rank.poll() is None for rank in self.ranks), self.said()
            time.sleep(0.01)
            first = int(seen.read_text() or 0) or None if first is None and seen.exists() else first
        for rank in self.ranks:
            rank.send_signal(signal.SIGKILL)
        for rank in self.ranks:
            rank.wait()

    def finish(self) -> None:
        """Wait for the end of all ranks."""
        assert [rank.wait(120) for rank in self.ranks] == [0] * len(self.ranks), self.said()

    def said(self) -> str:
        """What they wrote to stderr."""
        return (self.folder / "said.txt").read_text()[-3000:]


def trained(folder: Path) -> dict[int, int]:
    """How many positions of each document are in the last weights, of those that have any."""
    weights = json.loads((folder / "last.json").read_text())["weights"]
    return {n: count for n, count in enumerate(weights) if count}


def once(store: str) -> dict[int, int]:
    """The positions of every kept document, once."""
    texts = headrace.open(store).documents(["text"]).arrow()["text"].to_pylist()
    return {int(text.split()[1].rstrip(":")): len(text.encode()) + 1 for text in texts}


@pytest.fixture
def store(tmp_path):
    return grow(tmp_path, GROWTH)


def test_a_document_counts_once_its_checkpoint_is_committed_and_not_before(store):
    with headrace.feed(store, "mine", settings=SETTINGS) as feed:
        batches = [next(feed) for _ in range(9)]
        assert headrace.verify(store, "mine").trained == 0
        feed.commit(5)
        after_five = headrace.verify(store, "mine").trained
        feed.commit()
        assert 0 < after_five < headrace.verify(store, "mine").trained
        assert [batch.step for batch in batches] == list(range(1, 10))
        with pytest.raises(ValueError, match="step=4 is before 9"):
            feed.commit(4)
        with pytest.raises(ValueError, match="step=10 was not handed out; this feed is at step 9"):
            feed.commit(10)


def test_a_state_is_the_number_of_steps_and_brings_the_same_batches_back_at_any_step(store):
    with headrace.feed(store, "mine", settings=SETTINGS) as feed:
        states, batches = [feed.state_dict()], []
        for batch in feed:
            batches.append(batch)
            states.append(feed.state_dict())
        by_step = [feed.state_dict(step) for step in range(len(states))]
    assert len({state["round"] for state in states}) > 2
    with headrace.feed(store, "mine") as feed:
        for step in (0, 3, len(batches) // 2, len(batches) - 2):
            for state in (states[step], by_step[step], {"step": step}, json.loads(json.dumps(states[step]))):
                feed.load_state_dict(state)
                np.testing.assert_array_equal(next(feed).labels, batches[step].labels)
        feed.load_state_dict({"step": len(batches)})
        assert list(feed) == []


def test_the_ledger_follows_a_checkpoint_that_is_loaded_forth_and_back(store):
    with headrace.feed(store, "mine", settings=SETTINGS) as feed:
        list(feed)
        feed.commit(6)
    for step in (8, 2):  # saved and not committed, as by a kill in between; and an older one
        with headrace.feed(store, "mine") as feed:
            feed.load_state_dict({"step": step})
            next(feed)
            account = headrace.verify(store, "mine")
            assert account.ok
            assert headrace.open(store).rounds("mine").arrow()["trained_steps"].to_pylist()[0] == step


def test_iterating_again_goes_on_with_what_has_arrived(store, tmp_path):
    with headrace.feed(store, "mine", settings=SETTINGS) as feed:
        first = list(feed)
        assert list(feed) == []
        grow(tmp_path, 50, GROWTH)
        second = list(feed)
        assert second and second[0].step == first[-1].step + 1
        feed.commit()
    account = headrace.verify(store, "mine")
    assert (account.ok, account.pending) == (True, 0)


def test_ranks_get_the_parts_of_one_batch_that_does_not_depend_on_them(store):
    with headrace.feed(store, "mine", settings=SETTINGS) as feed:
        whole = [batch.labels for batch in feed]
    parts = []

    def follow():
        with headrace.feed(store, "mine", 1, 2) as feed:
            feed.load_state_dict({"step": 0})
            parts.append([batch.labels for batch in feed])

    thread = threading.Thread(target=follow)
    thread.start()
    with headrace.feed(store, "mine", 0, 2) as feed:
        feed.load_state_dict({"step": 0})
        parts.insert(0, [batch.labels for batch in feed])
        thread.join(60)
    np.testing.assert_array_equal([np.vstack(pair) for pair in zip(*parts, strict=True)], whole)


def test_starting_anew_by_accident_is_refused(store, tmp_path):
    with headrace.feed(store, "mine", settings=SETTINGS) as feed:
        next(feed)
        feed.commit()
        with pytest.raises(RunIsLiveError, match="run mine is being driven by process"):
            headrace.feed(store, "mine")
    with headrace.feed(store, "mine") as feed:
        with pytest.raises(headrace.ConfigError, match="run mine is at checkpoint mine/00000001: give its state"):
            next(feed)
        with pytest.raises(headrace.ConfigError, match="the state is of run other"):
            feed.load_state_dict({"run": "other", "step": 1})
        with pytest.raises(headrace.ConfigError, match=r"step 999 is not in run mine, whose rounds have \d+ steps"):
            feed.load_state_dict({"step": 999})
        with pytest.raises(headrace.ConfigError, match="step 1 of round 77 is not in store"):
            feed.load_state_dict({"step": 9, "round": 77, "step_in_round": 1})
    with pytest.raises(headrace.ConfigError, match="is not made yet; take documents in first"):
        headrace.feed(str(tmp_path / "none"), "mine")


def test_status_and_trace_tell_of_a_loop(store):
    with headrace.feed(store, "mine", settings=SETTINGS) as feed:
        next(feed)
        feed.commit()
        told = status(feed.store)["runs"][0]
        assert (told["step"], told["checkpoint"]) == (1, "mine/00000001") and told["driver"]
        rows = headrace.open(store).documents(["id"]).arrow()["id"].to_pylist()
        stories = [trace(store, [digits]) for digits in rows[:20]]
    trained = next(story for story in stories if story["runs"] and story["runs"][0]["checkpoints"])
    assert trained["runs"][0]["state"] == "trained"
    assert any("mine/00000001 (of a loop of your own, " in line for line in trace_lines(trained))


def test_a_process_that_lost_the_run_commits_nothing(store):
    feed = headrace.feed(store, "mine", settings=SETTINGS)
    next(feed)
    feed.store.write("runs/mine/lease/00000000.beat", b"released")
    with headrace.feed(store, "mine"), pytest.raises(PermissionError, match="belongs to another process now"):
        feed.commit()
    feed.close()
    assert Lake(feed.store).ledger("mine").num_rows == 0


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_every_document_is_trained_once_through_kills_other_world_sizes_and_growth(tmp_path):
    store, draw = grow(tmp_path, GROWTH), random.Random(11)
    for number, world in enumerate((1, 2, 1)):
        for _ in range(2):
            Loops(store, tmp_path, world, 0.03).kill_at(draw.randint(2, 9))
        account = headrace.verify(store)
        assert account.ok and account.trained < account.read, "what is handed out is not trained yet"
        if number < 2:
            grow(tmp_path, GROWTH, (number + 1) * GROWTH)
    Loops(store, tmp_path, 2, 0).finish()
    account = headrace.verify(store)
    assert trained(tmp_path) == once(store)
    assert (account.ok, account.pending, account.lost, account.repeated) == (True, 0, 0, 0)
    assert account.trained == len(once(store)) > 2 * GROWTH


@pytest.mark.parametrize("name", ["news@00000008", "team/mine", "..", ""])
def test_a_name_that_no_run_may_have_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(headrace.ConfigError, match="is no name of a run"):
        headrace.feed(str(tmp_path / "lake"), name)
