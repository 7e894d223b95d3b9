"""Is a document that was answered in the spool once, however often the listener is killed?"""

import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path
from random import Random

import orjson
import pytest
import requests

from data_ops.sources.files.config import FilesConfig
from data_ops.sources.kinds import open_source
from ray_jobs.config.reading import read_config
from ray_jobs.endpoint import is_loopback
from ray_jobs.ingest.listen import source_of
from tests.support.runs import environment, free_ports

pytestmark = pytest.mark.slow
SECRET = "a-token-for-this-test"


class Process:
    """A listener in a process of its own."""

    def __init__(self, folder: Path, *options: str, **more: str) -> None:
        self.port = free_ports(1)[0]
        self.argv = [sys.executable, "-m", "ray_jobs", "listen", str(folder / "spool"), "--port", str(self.port)]
        self.argv += options
        self.env, self.log = environment() | more, folder / "log.txt"
        self.url = f"http://127.0.0.1:{self.port}"
        self.start()

    def start(self) -> None:
        with self.log.open("a") as log:
            self.process = subprocess.Popen(self.argv, env=self.env, stdout=log, stderr=log)
        deadline = time.monotonic() + 60
        while True:
            try:
                if requests.get(f"{self.url}/health", timeout=1).ok:
                    return
            except requests.RequestException:
                assert self.process.poll() is None and time.monotonic() < deadline, self.log.read_text()
                time.sleep(0.05)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()


@pytest.fixture
def listener(tmp_path: Path):
    process = Process(tmp_path, HEADRACE_PUSH_TOKEN=SECRET)
    yield process
    process.kill()


def post(listener: Process, session: requests.Session, body: object, **headers: str) -> requests.Response:
    given = {"Authorization": f"Bearer {SECRET}", "Content-Type": "application/json", **headers}
    return session.post(f"{listener.url}/documents", data=orjson.dumps(body), headers=given, timeout=10)


def spooled(folder: Path) -> list[dict]:
    """What the source of files reads of the spool."""
    config = read_config([], [f"sources={{{source_of(str(folder / 'spool'))}}}"]).sources["pushed"]
    assert isinstance(config, FilesConfig)
    source = open_source("pushed", config.model_copy(update={"settle": 0.0}))
    spans = source.discover({}, 10**6).spans
    return [row for span in spans for batch in source.read(span) for row in batch.to_pylist()]


def test_every_document_that_was_answered_is_there_once_through_kills_under_load(tmp_path: Path, listener: Process):
    """With a key a sender repeats until it is answered; without one it never repeats."""
    answered: list[str] = []
    sent_alone: list[str] = []
    stopping = threading.Event()

    def send(worker: int) -> None:
        random, session, number = Random(worker), requests.Session(), 0
        while not stopping.is_set():
            number += 1
            name = f"{worker}-{number}"
            size = random.choice((1, 1, 3))
            body = [{"text": f"{name}-{part} {'x' * random.randint(1, 3000)}"} for part in range(size)]
            keyed = random.random() < 0.7
            while True:
                try:
                    headers = {"Idempotency-Key": name} if keyed else {}
                    answer = post(listener, session, body, **headers)
                    assert answer.status_code in (200, 201), answer.text
                    answered.extend(f"{name}-{part}" for part in range(size))
                    break
                except requests.RequestException:
                    time.sleep(0.02)
                    if stopping.is_set():
                        return
                    if not keyed:
                        sent_alone.append(name)
                        break

    senders = [threading.Thread(target=send, args=(worker,)) for worker in range(6)]
    for sender in senders:
        sender.start()
    random = Random(7)
    for _ in range(6):
        time.sleep(random.uniform(0.3, 1.0))
        listener.kill()
        listener.start()
    time.sleep(0.5)
    stopping.set()
    for sender in senders:
        sender.join()
    listener.kill()
    rows = spooled(tmp_path)
    there = Counter(row["text"].partition(" ")[0] for row in rows if row["error"] is None)
    assert len(answered) > 50
    assert [name for name in answered if there[name] != 1] == []
    assert max(there.values()) == 1


def test_who_may_send_what_and_how_much(listener: Process):
    session = requests.Session()
    wrong = post(listener, session, {"text": "a"}, Authorization="Bearer wrong")
    assert (wrong.status_code, "token" in wrong.json()["error"]) == (401, True)
    long = post(listener, session, {"text": "a" * (9 << 20)})
    assert (long.status_code, "8388608 bytes" in long.json()["error"]) == (413, True)
    chunks = (b"x" * (1 << 20) for _ in range(12))
    headers = {"Authorization": f"Bearer {SECRET}", "Content-Type": "text/plain"}
    assert requests.post(f"{listener.url}/documents", data=chunks, headers=headers, timeout=20).status_code == 413
    assert session.get(f"{listener.url}/documents", headers=headers, timeout=5).status_code == 405
    assert session.get(f"{listener.url}/else", headers=headers, timeout=5).status_code == 404
    assert post(listener, session, {"text": " "}).json()["error"].startswith("document 0 has no text")
    first = post(listener, session, [{"text": "a"}, {"text": "b"}], **{"Idempotency-Key": "once"})
    second = post(listener, session, [{"text": "a"}, {"text": "b"}], **{"Idempotency-Key": "once"})
    assert (first.status_code, first.json()) == (201, {"stored": 2, "ids": ["once/0", "once/1"]})
    assert (second.status_code, second.json()) == (200, {"stored": 0, "ids": ["once/0", "once/1"]})
    assert SECRET not in listener.log.read_text()


def test_a_signal_ends_it_and_a_second_one_is_refused_its_folder(tmp_path: Path, listener: Process):
    other = [*listener.argv[:-1], str(free_ports(1)[0])]
    refused = subprocess.run(other, env=listener.env, capture_output=True, text=True, timeout=60, check=False)
    assert refused.returncode == 2 and "another listener writes into" in refused.stderr
    listener.process.send_signal(signal.SIGTERM)
    assert listener.process.wait(20) in (0, -signal.SIGTERM, 143)


def test_without_a_token_nobody_else_may_send(tmp_path: Path):
    argv = [sys.executable, "-m", "ray_jobs", "listen", str(tmp_path), "--host", "0.0.0.0"]
    refused = subprocess.run(argv, env=environment(), capture_output=True, text=True, timeout=60, check=False)
    assert refused.returncode == 2 and "lets other machines send, and there is no token" in refused.stderr
    assert [is_loopback(host) for host in ("127.0.0.1", "::1", "localhost", "0.0.0.0", "me.example")] == [
        True,
        True,
        True,
        False,
        False,
    ]
