"""Is a run started once for what waits, whoever else waits and wherever the trigger is killed?"""

import json
import threading
from pathlib import Path

import pytest

from cluster.storage.state import write_json
from cluster.storage.store import Store
from data_ops.lake.lake import Lake
from ray_jobs.config.reading import read_config
from ray_jobs.outcome import ConfigError
from ray_jobs.store.lease import Heart, acquire
from ray_jobs.store.paths import run_path
from ray_jobs.trigger import command
from ray_jobs.trigger.command import Clock, check_trigger, sentence, trigger
from ray_jobs.trigger.decision import FreshText
from ray_jobs.trigger.looking import Looker
from ray_jobs.trigger.starting import JobStarter, Starter
from ray_jobs.trigger.starts import read_past
from tests.data_ops.sources.kafka.test_ingest import take_in

pytestmark = pytest.mark.slow


def config_of(folder: Path, **rule):
    source = {"path": f"{folder}/texts/*.jsonl", "settle": 0, "wait": True}
    given = [f"store={folder}/store", "name=news", f"sources.live={json.dumps(source)}", "held_out=0"]
    return read_config([], [*given, "tokenizer.kind=bytes", f"trigger={json.dumps(rule or {'documents': 3})}"])


def write(folder: Path, name: str, count: int) -> None:
    (folder / "texts").mkdir(exist_ok=True)
    text = "tells of the wheel, of the mill and of the water that turns them."
    rows = (json.dumps({"text": f"Document {name} {n} {text}"}) for n in range(count))
    (folder / "texts" / f"{name}.jsonl").write_text("\n".join(rows) + "\n")


class CrashError(Exception):
    """A trigger, or a run, that ended here as by SIGKILL."""


class Played(Starter):
    """Runs within this process: they take the lease of the run, and take in what there is."""

    def __init__(self, config, *, codes=(), dies: str = "") -> None:
        self.config, self.codes, self.dies, self.runs = config, list(codes), dies, 0

    def knows(self, start) -> bool:
        return False

    def carry(self, start, stopped):
        if self.dies == "before":
            raise CrashError
        store = Store.open(self.config.store)
        heart = Heart(store, acquire(store, self.config.name))
        self.runs += 1
        try:
            code = self.codes.pop(0) if self.codes else 0
            if self.dies == "within":
                raise CrashError
            if code == 0:
                take_in(self.config)
                write_json(store, run_path(self.config.name, "summary.json"), {"documents": {"pending": 0}})
            if self.dies == "after":
                raise CrashError
            return code
        finally:
            heart.release()


class Time:
    """A clock that goes by waiting alone, and stops when there is nothing more to do."""

    def __init__(self, until: float) -> None:
        self.now, self.until, self.stopped = 1e9, 1e9 + until, threading.Event()

    def clock(self) -> Clock:
        time = self

        class Waited(threading.Event):
            def wait(self, timeout=None) -> bool:
                time.now += timeout
                if time.now > time.until:
                    self.set()
                return self.is_set()

        return Clock(Waited(), lambda: self.now)


def played(config, starter, seconds: float, told: list, *, dies_at: str = "", once: bool = False) -> int:
    def report(event) -> None:
        told.append(dict(event))
        if event["event"] == dies_at:
            raise CrashError

    return trigger(config, starter, report, Time(seconds).clock(), once=once)


def starts_of(told: list) -> list:
    return [(event["number"], event["reason"]) for event in told if event["event"] == "start"]


def test_a_look_counts_what_waits_twice_the_same_and_writes_nothing(tmp_path):
    config = config_of(tmp_path)
    write(tmp_path, "a", 5)
    store = Store.open(config.store)
    looker = Looker(store, config.sources)
    size = (tmp_path / "texts/a.jsonl").stat().st_size
    for _ in range(2):
        assert looker.look(-1, lambda _: False) == FreshText(5, size)
    assert not (tmp_path / "store").exists() or not store.list("")
    take_in(config)
    last, before = Lake(store).last_window(), sorted(store.list(""))
    assert looker.look(-1, lambda _: False) == FreshText(5, size), "taken in, and not trained"
    assert looker.look(last, lambda _: False) == FreshText()
    write(tmp_path, "b", 2)
    assert looker.look(last, lambda _: False).documents == 2
    assert sorted(store.list("")) == before


def test_a_run_is_started_once_enough_waits_and_not_again_until_more_does(tmp_path):
    config, told = config_of(tmp_path), []
    starter = Played(config)
    write(tmp_path, "a", 2)
    assert played(config, starter, 100, told) == 143 and starter.runs == 0
    assert [event["event"] for event in told] == ["waiting"], "what stays so is told once"
    write(tmp_path, "b", 1)
    played(config, starter, 100, told)
    assert starts_of(told) == [(0, "documents")] and told[-2:] == [
        {"event": "end", "number": 0, "code": 0},
        {"event": "waiting", "documents": 0, "num_bytes": 0, "tokens": 0},
    ]
    write(tmp_path, "c", 3)
    played(config, starter, 100, told)
    assert starts_of(told) == [(0, "documents"), (1, "documents")] and starter.runs == 2
    assert all(sentence(event) for event in told)


def test_a_deadline_starts_a_run_for_a_single_document(tmp_path):
    config, told = config_of(tmp_path, every="1h", look_every="1m"), []
    write(tmp_path, "a", 1)
    played(config, Played(config), 3500, told)
    assert starts_of(told) == []
    played(config, Played(config), 3700, told)
    assert starts_of(told) == [(0, "every")], "counted from the first look of all"


def test_runs_that_fail_are_tried_again_with_growing_pauses_and_then_all_is_trained(tmp_path):
    config, told = config_of(tmp_path), []
    write(tmp_path, "a", 3)
    starter = Played(config, codes=[1, 75, 1, 0])
    played(config, starter, 1000, told)
    assert starts_of(told) == [(0, "documents"), (1, "again"), (2, "again"), (3, "again")]
    assert [event["code"] for event in told if event["event"] == "end"] == [1, 75, 1, 0]


@pytest.mark.parametrize(
    ("dies", "dies_at", "numbers", "runs"),
    [
        ("", "start", [0], 1),  # reserved, and not begun: begun by the next trigger under its number
        ("before", "", [0], 1),
        ("within", "", [0, 1], 2),  # begun and cut short: gone on with
        ("after", "", [0], 1),  # done, and nobody saw it: not begun again
        ("", "end", [0], 1),
    ],
)
def test_a_trigger_that_is_killed_anywhere_neither_forgets_a_start_nor_makes_it_twice(
    tmp_path, dies, dies_at, numbers, runs
):
    config, told = config_of(tmp_path), []
    write(tmp_path, "a", 4)
    first = Played(config, dies=dies)
    with pytest.raises(CrashError):
        played(config, first, 100, told, dies_at=dies_at)
    second = Played(config)
    played(config, second, 100, told)
    assert [number for number, _ in starts_of(told)] == numbers and first.runs + second.runs == runs
    past = read_past(Store.open(config.store), "news")
    assert past.open is None and past.end.code == 0
    assert Lake(Store.open(config.store)).last_window() == past.trained_window >= 0


def test_a_second_trigger_stands_by_and_takes_over(tmp_path):
    config, told = config_of(tmp_path), []
    write(tmp_path, "a", 3)
    store = Store.open(config.store)
    heart = Heart(store, acquire(store, "news@trigger"))
    starter = Played(config)
    assert played(config, starter, 100, told, once=True) == 0
    assert [event["event"] for event in told] == ["standing_by"] and starter.runs == 0
    heart.release()
    assert played(config, starter, 100, told, once=True) == 0 and starter.runs == 1


def test_nothing_is_started_while_somebody_drives_the_run(tmp_path):
    config, told = config_of(tmp_path), []
    write(tmp_path, "a", 3)
    store = Store.open(config.store)
    heart = Heart(store, acquire(store, "news"))
    played(config, Played(config), 100, told)
    assert starts_of(told) == [] and told[0]["why"].startswith("run news is being driven by process")
    heart.release()
    played(config, Played(config), 100, told)
    assert starts_of(told) == [(0, "documents")]


def test_one_look_ends_with_the_code_of_the_run_that_it_started(tmp_path):
    config, told = config_of(tmp_path), []
    assert played(config, Played(config), 100, told, once=True) == 0 and starts_of(told) == []
    write(tmp_path, "a", 3)
    assert played(config, Played(config, codes=[3]), 100, told, once=True) == 3
    assert len(starts_of(told)) == 1


def test_a_source_that_cannot_be_looked_at_is_told_and_looked_at_again(tmp_path):
    config, told = config_of(tmp_path), []
    write(tmp_path, "a", 3)
    gone = config.model_copy(update={"sources": {"live": config.sources["live"].model_copy(update={"path": ("/p",)})}})

    class Refusing:
        def look(self, *_):
            raise OSError("no Kafka broker answers")

    turn = command._Turn(gone, Store.open(config.store), Played(config), told.append, Time(10).clock())
    turn._looker = Refusing()
    assert turn.turn() == (30.0, None) and told == [{"event": "not_looked", "why": "no Kafka broker answers"}]


class Cluster:
    """The jobs of a cluster, by id."""

    def __init__(self) -> None:
        self.states: dict = {}
        self.away = False

    def start(self, name, config, python) -> None:
        if self.away:
            raise ConnectionError("the cluster takes no job")
        assert name not in self.states, "a cluster takes an id once"
        self.states[name] = None

    def code(self, name):
        from ray_jobs.commands.submit import JobState

        if name not in self.states:
            return None
        code = self.states[name]
        return JobState(code is not None, code or 0)


def test_a_job_that_was_submitted_by_a_trigger_that_was_killed_is_found_and_waited_for(tmp_path, monkeypatch):
    config, told, cluster = config_of(tmp_path), [], Cluster()
    write(tmp_path, "a", 3)
    starter = JobStarter(config, cluster, "python")
    with pytest.raises(CrashError):
        played(config, starter, 100, told, dies_at="start")
    assert not cluster.states

    class Dying(JobStarter):
        def carry(self, start, stopped):
            self._jobs.start(start.job, self._config, self._python)
            raise CrashError

    with pytest.raises(CrashError):
        played(config, Dying(config, cluster, "python"), 100, told)
    (job,) = cluster.states
    assert job.startswith("news-000000-")
    cluster.states[job] = 0
    take_in(config)
    played(config, starter, 100, told)
    assert list(cluster.states) == [job] and starts_of(told) == [(0, "documents")] and told[-2]["code"] == 0


def test_a_cluster_that_is_away_is_told_and_the_start_waits(tmp_path):
    config, told, cluster = config_of(tmp_path), [], Cluster()
    write(tmp_path, "a", 3)
    cluster.away = True
    played(config, JobStarter(config, cluster, "python"), 100, told)
    assert starts_of(told) == [(0, "documents")]
    assert {"event": "not_started", "number": 0, "why": "the cluster takes no job"} in told
    assert read_past(Store.open(config.store), "news").open is not None


def test_nothing_to_wait_for_is_a_mistake(tmp_path):
    config = config_of(tmp_path, look_every=5)
    with pytest.raises(ConfigError, match=r"nothing would start run news; set trigger.tokens"):
        check_trigger(config)
