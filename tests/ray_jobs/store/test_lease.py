"""Is a run driven by one process at a time, and free again as soon as that one is gone?"""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from cluster.storage.store import Store
from ray_jobs.store import lease as leases
from ray_jobs.store.lease import Heart, RunIsLiveError, acquire, holder
from tests.support.root import ROOT
from tests.support.runs import wait_until

HOLD = """
import sys, time
from cluster.storage.store import Store
from ray_jobs.store.lease import Heart, acquire
store = Store.open(sys.argv[1])
Heart(store, acquire(store, "news"))
print("held", flush=True)
time.sleep(600)
"""


@pytest.fixture
def store(tmp_path):
    return Store.open(str(tmp_path))


@pytest.fixture
def other_driver(store):
    """Another process that drives the run; it is killed, but not reaped, when the test has not done it."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", HOLD, store.uri]
    child = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)
    assert child.stdout.readline() == "held\n"
    yield child
    child.kill()
    child.wait()
    child.stdout.close()


def elsewhere(store, beat=b"1"):
    """A claim of a process on another machine, with its last heartbeat."""
    lease = replace(acquire(store, "news"), host="elsewhere:1234", pid=1)
    store.write(leases._claim_path("news", 0), json.dumps(asdict(lease)).encode())
    store.write(leases._beat_path(lease), beat)
    return lease


@contextmanager
def beating(store, lease):
    """Let the heart of a driver elsewhere beat meanwhile, whenever that is looked at."""
    ended = threading.Event()

    def beat():
        number = 2
        while not ended.wait(0.01):
            store.write(leases._beat_path(lease), str(number).encode())
            number += 1

    heart = threading.Thread(target=beat)
    heart.start()
    try:
        yield
    finally:
        ended.set()
        heart.join()


def test_a_run_is_held_by_one_driver_of_this_process(store):
    lease = acquire(store, "news")
    assert lease.held(store)
    assert holder(store, "news") == lease
    with pytest.raises(RunIsLiveError, match=f"run news is being driven by process {os.getpid()} on .*; wait for it"):
        acquire(store, "news")
    assert acquire(store, "other").held(store), "another run is another lease"


def in_namespace(number, monkeypatch):
    monkeypatch.setattr(leases.os, "readlink", lambda path: f"pid:[{number}]")


@pytest.mark.slow
def test_a_process_of_another_container_is_looked_for_by_its_heart_and_not_by_its_number(store, monkeypatch):
    in_namespace(4026531836, monkeypatch)
    theirs = replace(acquire(store, "news"), pid=2**22 + 1)  # a number that nobody here has
    store.write(leases._claim_path("news", 0), json.dumps(asdict(theirs)).encode())
    assert holder(store, "news") is None, "seen from its own container it is dead"
    in_namespace(4026532999, monkeypatch)  # host name and boot are the same, as with `--network host`
    assert holder(store, "news") == theirs
    with beating(store, theirs), pytest.raises(RunIsLiveError):
        acquire(store, "news", wait_seconds=5.0)


def test_a_claim_of_an_older_version_is_waited_out(store):
    older = replace(acquire(store, "news"), host=leases._host().rpartition(":")[0], pid=2**22 + 1)
    store.write(leases._claim_path("news", 0), json.dumps(asdict(older)).encode())
    assert holder(store, "news") == older, "it told no container, so its number says nothing"
    assert acquire(store, "news", wait_seconds=0.2).number == 1


@pytest.mark.parametrize("error", [FileNotFoundError, PermissionError])
def test_where_there_are_no_containers_a_host_is_its_name_and_boot(monkeypatch, error):
    def refuse(path):
        raise error(2, "not here")

    whole = leases._host()
    monkeypatch.setattr(leases.os, "readlink", refuse)
    assert whole.startswith(leases._host())


def test_a_released_run_is_taken_over_at_once(store):
    first = acquire(store, "news")
    Heart(store, first).release()
    assert holder(store, "news") is None
    second = acquire(store, "news")
    assert (second.number, second.held(store), first.held(store)) == (1, True, False)


def test_a_live_process_is_not_robbed_and_a_killed_one_is_followed_at_once(store, other_driver):
    with pytest.raises(RunIsLiveError, match=f"process {other_driver.pid} on"):
        acquire(store, "news")
    assert holder(store, "news").pid == other_driver.pid
    other_driver.send_signal(signal.SIGKILL)
    wait_until(lambda: holder(store, "news") is None, 60, lambda: "it is held still")
    assert Path(f"/proc/{other_driver.pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z", "nobody reaped it"
    assert holder(store, "news") is None, "a zombie drives nothing"
    mine = acquire(store, "news")
    assert (mine.number, mine.pid) == (1, os.getpid())


def test_a_stopped_process_still_holds_its_run(store, other_driver):
    other_driver.send_signal(signal.SIGSTOP)
    with pytest.raises(RunIsLiveError):
        acquire(store, "news")


def test_a_process_number_given_to_another_process_holds_nothing(store):
    lease = acquire(store, "news")
    reused = replace(lease, process_started="1")
    store.write(leases._claim_path("news", 0), json.dumps(asdict(reused)).encode())
    assert acquire(store, "news").number == 1


@pytest.mark.slow
def test_a_driver_elsewhere_holds_the_run_while_its_heart_beats(store):
    lease = elsewhere(store)
    with beating(store, lease), pytest.raises(RunIsLiveError, match="process 1 on elsewhere"):
        acquire(store, "news", wait_seconds=5.0)
    assert holder(store, "news").host == lease.host, "whether it lives is not waited for"


@pytest.mark.parametrize("kind", ["beat", "claim"])
def test_a_driver_elsewhere_that_fell_silent_long_ago_is_dead_without_waiting(store, kind, monkeypatch):
    lease = elsewhere(store)
    beat, claim = leases._beat_path(lease), leases._claim_path("news", 0)
    if kind == "claim":  # it died before its first beat
        store.delete(beat)
    old = time.time() - 3 * 3600
    os.utime(store.local_path(beat if kind == "beat" else claim), (old, old))
    began = time.monotonic()
    assert holder(store, "news") is None and time.monotonic() - began < 5
    assert leases.silent_s(store, lease) == pytest.approx(3 * 3600, abs=60)
    assert leases.unreleased(store, "news") == lease


@pytest.fixture
def quick_hearts(monkeypatch):
    monkeypatch.setattr(leases, "HEARTBEAT_SECONDS", 0.1)


def looks_twice(store, lease):
    """Is a holder there only if it beats while we look?"""
    assert holder(store, "news") is None, "no beat came"
    beat = threading.Timer(0.3, lambda: store.write(leases._beat_path(lease), b"2"))
    beat.start()
    assert holder(store, "news") == lease
    beat.join()


@pytest.mark.slow
def test_who_may_only_read_looks_twice(store, monkeypatch, quick_hearts):
    def refuse(*given):
        raise PermissionError("read only")

    monkeypatch.setattr(leases, "written_s_ago", refuse)
    looks_twice(store, elsewhere(store))


@pytest.mark.slow
def test_a_beat_from_the_future_is_believed_only_if_another_follows(store, quick_hearts):
    """The clock of a file server that was set back would keep everybody out for so long."""
    lease, tomorrow = elsewhere(store), time.time() + 86_400
    os.utime(store.local_path(leases._beat_path(lease)), (tomorrow, tomorrow))
    looks_twice(store, lease)


@pytest.mark.slow
def test_a_driver_elsewhere_without_a_heartbeat_is_waited_out_and_then_followed(store):
    elsewhere(store)
    began = time.monotonic()
    mine = acquire(store, "news", wait_seconds=0.3)
    assert time.monotonic() - began >= 0.3
    assert (mine.number, mine.held(store)) == (1, True)


@pytest.mark.slow
def test_a_driver_elsewhere_that_releases_meanwhile_is_followed(store):
    lease = elsewhere(store)
    release = threading.Timer(0.1, lambda: store.write(leases._beat_path(lease), b"released"))
    release.start()
    assert acquire(store, "news", wait_seconds=10.0).number == 1
    release.join()


def test_a_lease_that_ends_while_it_is_looked_at_is_nobodys(store, monkeypatch):
    lease = elsewhere(store)
    listed, looks = [leases._claim_path("news", lease.number)], []

    def list_then_end(*given):
        looks.append(store.delete(f"runs/{lease.run}/lease"))
        return listed if len(looks) == 1 else []

    monkeypatch.setattr(leases, "_claim_paths", list_then_end)
    assert holder(store, "news") is None


@pytest.mark.slow
def test_a_store_that_hangs_makes_nobody_look_dead(store, monkeypatch):
    lease = elsewhere(store)
    beats = iter([b"1", b"1", b"2"])

    def slow(*given):
        beat = next(beats)
        time.sleep(0.5 if beat == b"1" else 0)
        return beat

    monkeypatch.setattr(leases, "_released", lambda *given: False)
    monkeypatch.setattr(leases, "_beat", slow)
    with pytest.raises(RunIsLiveError):
        acquire(store, "news", wait_seconds=0.3)
    assert lease.number == 0


@pytest.mark.slow
def test_a_beat_that_is_gone_is_no_sign_of_life(store):
    lease = elsewhere(store)
    gone = threading.Timer(0.1, lambda: store.delete(leases._beat_path(lease)))
    gone.start()
    assert holder(store, "news", wait_seconds=5.0) is None
    gone.join()


def test_of_many_who_try_at_once_one_wins(store):
    def attempt(_):
        try:
            return acquire(Store.open(store.uri), "news")
        except RunIsLiveError:
            return None

    with ThreadPoolExecutor(8) as pool:
        won = [lease for lease in pool.map(attempt, range(16)) if lease]
    assert len(won) == 1
    assert won[0].held(store)


def test_claims_do_not_pile_up(store):
    for number in range(2 * leases.KEPT_CLAIMS):
        lease = acquire(store, "news")
        assert lease.number == number
        Heart(store, lease).release()
    assert len([path for path in store.list("runs/news/lease") if path.endswith(".json")]) == leases.KEPT_CLAIMS
    assert lease.held(store)


def test_the_heart_beats_and_survives_a_store_that_fails(store, monkeypatch):
    monkeypatch.setattr(leases, "HEARTBEAT_SECONDS", 0.01)
    lease = acquire(store, "news")
    fails, failed, write = threading.Event(), threading.Event(), Store.write

    def sometimes(self, path, data):
        if fails.is_set():
            failed.set()
            raise OSError("the disk is full")
        write(self, path, data)

    monkeypatch.setattr(Store, "write", sometimes)
    heart = Heart(store, lease)

    def wait_for_a_beat():
        before, deadline = leases._beat(store, lease), time.monotonic() + 60
        while leases._beat(store, lease) == before and time.monotonic() < deadline:
            time.sleep(0.005)
        return leases._beat(store, lease) != before

    assert wait_for_a_beat()
    fails.set()
    assert failed.wait(timeout=60)
    fails.clear()
    assert wait_for_a_beat()
    heart.release()
    assert leases._beat(store, lease) == b"released"


def test_without_proc_a_dead_process_is_still_noticed(monkeypatch):
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    real = Path.exists
    monkeypatch.setattr(Path, "exists", lambda self: not str(self).startswith("/proc") and real(self))
    assert leases._process_started(child.pid) == ""
    assert leases._process_started(os.getpid()) == "running"
