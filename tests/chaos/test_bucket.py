"""Does the weather between a run and its bucket do what it says, and do only plans over a network meet it?"""

import http.client
import os
import time
from collections import Counter
from http.server import BaseHTTPRequestHandler
from random import Random

import pytest

from cluster.storage import retry
from cluster.storage.store import Store
from data_ops.lake.lake import Lake
from tests.chaos.bucket import Bucket, Proxy
from tests.chaos.faults import bring_about
from tests.chaos.life import EVENTS, Life
from tests.chaos.schedule import DAMAGES, STORAGE, Fault, Moment, plan
from tests.cluster.storage.test_store import serve

pytestmark = pytest.mark.slow
CONTENT = bytes(range(256)) * 40


class Counting(BaseHTTPRequestHandler):
    """Takes everything, gives CONTENT, and counts what reached it."""

    protocol_version = "HTTP/1.1"
    seen: Counter[str]

    def do(self):
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.seen[self.command] += 1
        self.send_response(200)
        self.send_header("Content-Length", str(len(CONTENT)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(CONTENT)

    do_GET = do_PUT = do_HEAD = do  # noqa: N815

    def log_message(self, *_):
        """Stay quiet."""


@pytest.fixture
def proxy():
    handler = type("Handler", (Counting,), {"seen": Counter()})
    server = serve(handler)
    proxy = Proxy(f"http://127.0.0.1:{server.server_port}", Random(1))
    proxy.seen = handler.seen
    yield proxy
    proxy.calm()
    proxy.shutdown()
    server.shutdown()


def ask(proxy, method="GET"):
    """The status of an answer, or how it failed."""
    connection = http.client.HTTPConnection("127.0.0.1", proxy.server_port, timeout=20)
    try:
        connection.request(method, "/acme/x", b"body" if method == "PUT" else None)
        answer = connection.getresponse()
        data = answer.read()
        assert answer.status != 200 or data == (b"" if method == "HEAD" else CONTENT)
    except (http.client.HTTPException, OSError) as error:
        return type(error).__name__
    else:
        return answer.status
    finally:
        connection.close()


def test_in_calm_weather_everything_passes(proxy):
    assert [ask(proxy, method) for method in ("GET", "PUT", "HEAD") * 3] == [200] * 9
    assert proxy.seen == Counter(GET=3, PUT=3, HEAD=3)


def test_errors_are_answered_to_a_share_also_after_the_request_was_carried_out(proxy):
    proxy.turn("errors", 60)
    answers = Counter(ask(proxy, "PUT") for _ in range(60))
    assert set(answers) == {200, 500, 503} and 15 < answers[200] < 45, answers
    failed = 60 - answers[200]
    assert proxy.seen["PUT"] == answers[200] + failed // 2, "every other one that failed was carried out"


def test_errors_come_in_an_order_that_the_seed_decides(proxy):
    met = []
    for _ in range(2):
        proxy.random = Random(5)
        proxy.turn("errors", 60)
        met.append([ask(proxy) for _ in range(20)])
    assert met[0] == met[1]


def test_what_hangs_is_not_answered_and_closes_when_the_weather_is_over(proxy):
    began = time.monotonic()
    proxy.turn("hang", 1.0)
    assert ask(proxy) == "RemoteDisconnected", "and not a time-out, which comes after 20 s"
    assert time.monotonic() - began >= 1.0
    assert ask(proxy) == 200


def test_every_other_request_that_hangs_was_carried_out(proxy):
    proxy.turn("hang", 60)
    assert [proxy.meets("PUT") for _ in range(4)] == [("hang", False), ("hang", True)] * 2


def test_bodies_are_cut_in_the_middle_and_told_to_be_whole(proxy):
    proxy.turn("cut", 60)
    answers = Counter(ask(proxy) for _ in range(40))
    assert set(answers) <= {200, "IncompleteRead", "ConnectionResetError"} and 8 < answers[200] < 32, answers
    assert [ask(proxy, method) for method in ("PUT", "HEAD") * 5] == [200] * 10, "what has no body to cut"


def test_what_is_reset_was_carried_out_and_only_writes_are(proxy):
    proxy.turn("reset", 60)
    answers = Counter(ask(proxy, "PUT") for _ in range(40))
    assert set(answers) == {200, "ConnectionResetError"} and 8 < answers[200] < 32, answers
    assert proxy.seen["PUT"] == 40
    assert [ask(proxy, method) for method in ("GET", "HEAD") * 5] == [200] * 10


def test_the_weather_gets_better_by_itself(proxy):
    proxy.turn("errors", 0.3)
    time.sleep(0.4)
    assert [ask(proxy) for _ in range(20)] == [200] * 20


@pytest.fixture(scope="module")
def bucket():
    bucket = Bucket(1)
    yield bucket
    bucket.close()


@pytest.fixture
def store(bucket, monkeypatch):
    """The store of a run behind the weather."""
    for name, value in bucket.environment.items():
        monkeypatch.setenv(name, value)
    yield Store.open("s3://acme/lake")
    bucket.proxy.calm()


def test_the_supervisor_reads_past_the_weather_and_copies_the_store(bucket, store, tmp_path):
    store.write("runs/a b+ü/x", b"123")
    for folder in ("acme/lake", "acme/lake/runs"):
        store.filesystem.create_dir(folder)  # objects that stand for folders
    bucket.proxy.turn("hang", 60)
    assert [bucket.read("runs/a b+ü/x", offset) for offset in (0, 2, 3)] == [b"123", b"3", b""]
    assert bucket.read("runs/nothing") == b""
    bucket.copy(tmp_path / "lake")
    assert (tmp_path / "lake/runs/a b+ü/x").read_bytes() == b"123"


def test_a_life_reads_its_events_from_the_bucket_as_they_come(bucket, store, tmp_path):
    life = Life(tmp_path, plan(1, 1), bring_about, bucket=bucket)
    assert life.told.read() is False
    one, two = (f'{{"event": "step", "step": {n}, "time": {time.time()}}}\n'.encode() for n in (1, 2))
    store.write(EVENTS, one + two[:12])
    assert life.told.read() and life.step() == 1
    store.write(EVENTS, one + two)
    assert life.told.read() and life.step() == 2
    assert life.told.read() is False


@pytest.mark.parametrize("kind", STORAGE)
def test_a_fault_turns_the_weather_of_a_run_in_a_bucket(kind, bucket, tmp_path):
    fault = Fault(kind, Moment("step", 1))
    assert bring_about(Life(tmp_path, plan(1, 1), bring_about), fault) == (False, "the store is in no bucket")
    assert bring_about(Life(tmp_path, plan(1, 1), bring_about, bucket=bucket), fault)[0] is True
    assert f"storage_{bucket.proxy.kind}" == kind
    bucket.proxy.calm()


def test_plans_over_a_network_meet_its_weather_and_others_stay_as_they_were(monkeypatch):
    plans = [plan(seed, 10) for seed in range(80)]
    monkeypatch.setattr("tests.chaos.schedule.BUCKETS", 0.0)
    before = [plan(seed, 10) for seed in range(80)]
    over_network = [(p, old) for p, old in zip(plans, before, strict=True) if p.bucket]
    assert 10 < len(over_network) < 30
    assert all(p == old for p, old in zip(plans, before, strict=True) if not p.bucket)
    assert not any(f.kind in STORAGE for p in before for stage in p.stages for f in stage)
    for p, old in over_network:
        kinds = [f.kind for stage in p.stages for f in stage]
        assert not set(kinds) & {*DAMAGES, "disk_full"}
        assert len({kind for kind in kinds if kind in STORAGE}) >= 2
        assert (p.settings, p.grows, p.faults) == (old.settings, old.grows, old.faults)
        moments = [[[f.moment for f in stage] for stage in one.stages] for one in (p, old)]
        assert moments[0] == moments[1]


def test_what_bad_weather_breaks_off_is_read_all_the_same(bucket, store):
    store.write("small", b"12")  # fewer bytes than an error has
    store.write("large", CONTENT)
    for kind in ("cut", "errors"):
        bucket.proxy.random = Random(3)
        bucket.proxy.turn(kind, 4)
        for _ in range(6):
            assert (store.read("small"), store.read("large")) == (b"12", CONTENT)


@pytest.mark.parametrize("kind", ["cut", "errors"])
def test_a_table_is_appended_to_once_and_read_in_bad_weather(kind, bucket, store):
    lake = Lake(store)
    lake.create()
    bucket.proxy.turn(kind, 6)
    for step in range(4):
        lake.add_ledger(kind, {"step": step, "round": 0, "step_in_round": step, "checkpoint": "c", "state": "{}"})
    assert lake.ledger(kind)["step"].to_pylist() == [0, 1, 2, 3]


def test_weather_that_stays_bad_ends_in_one_sentence(bucket, store, monkeypatch):
    monkeypatch.setattr(retry, "PATIENCE_S", 0.0)
    monkeypatch.setattr("tests.chaos.bucket.SHARE", 1.0)
    lake = Lake(store)
    lake.create()
    bucket.proxy.turn("cut", 60)
    with pytest.raises(OSError, match=r"the network failed 1 times in \d+ s; check it: ") as caught:
        lake.ledger("r")
    assert "\n" not in str(caught.value) and "\x1b" not in str(caught.value)


def test_a_row_whose_answer_was_lost_is_there_once(bucket, store):
    lake = Lake(store)
    lake.create()
    bucket.proxy.turn("reset", 8)
    for step in range(20):
        lake.add_ledger("reset", {"step": step, "round": 0, "step_in_round": step, "checkpoint": "c", "state": "{}"})
    assert lake.ledger("reset")["step"].to_pylist() == list(range(20))
    assert lake.ledger("reset")["sequence"].to_pylist() == list(range(20))


def test_a_file_whose_answer_was_lost_is_written_all_the_same(bucket, store, tmp_path):
    large = os.urandom(11 << 20)  # in parts
    (tmp_path / "large").write_bytes(large)
    bucket.proxy.turn("reset", 8)
    for number in range(20):
        store.write(f"files/{number}", b"%d" % number)
    store.upload(tmp_path / "large", "files/large")
    assert [store.read(f"files/{number}") for number in range(20)] == [b"%d" % number for number in range(20)]
    assert store.read("files/large") == large
