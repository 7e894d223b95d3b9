"""Do champions change under load without a failed request or a mixed answer? __main__.py asks for longer."""

import re
from pathlib import Path

import pytest
import requests

from tests.chaos.swaps.load import swap_under_load
from tests.support.serving.server import ServerProcess
from tests.support.serving.stores import served_store

pytestmark = pytest.mark.slow


def test_no_request_fails_and_no_answer_is_of_two_checkpoints(tmp_path: Path) -> None:
    store, names = served_store(tmp_path, 2)
    server = ServerProcess(
        store, tmp_path / "log.txt", "engine.precision=fp32", "serve.look_every=0.1s", "serve.batch=4"
    )
    try:
        tally = swap_under_load(server, store, [*names, names[0]], num_requests=60, seed=7)
    finally:
        server.process.kill()
    assert (tally.failed, tally.mixed, tally.swaps) == ([], [], 2)
    assert tally.answered.total() >= 60
    assert min(tally.answered[name] for name in names) > 0


def test_a_killed_replica_fails_no_request_of_openais_client_and_comes_back(tmp_path: Path) -> None:
    from tests.chaos.swaps.client import OpenAiClient  # seconds: not for a file that is only collected

    store, names = served_store(tmp_path, 2)
    settings = ["engine.precision=fp32", "serve.look_every=0.1s", "serve.batch=4", "serve.replicas=2"]
    server = ServerProcess(store, tmp_path / "log.txt", *settings, f"serve.feedback.folder={tmp_path}/said")
    try:
        tally = swap_under_load(
            server,
            store,
            [*names, names[0]],
            num_requests=60,
            seed=7,
            asking=lambda url, tally: OpenAiClient(url, tally).ask,
            kills=1,
        )
        assert (tally.failed, tally.mixed, tally.swaps, tally.killed) == ([], [], 2, 1)
        while len(metrics_of(server)) < 2:
            assert server.process.poll() is None
        rated = [rate(server) for _ in range(12)]
        folders = {path.parent.name for path in (tmp_path / "said/model/up").rglob("*.jsonl")}
    finally:
        code = server.terminate()
    assert rated == [201] * 12, "whichever replica gave the answer, each of them takes what is said of it"
    assert folders == {"0", "1"} or len(folders) == 1
    assert code in (0, -15, 143) and server.replicas_are_gone()


def metrics_of(server: ServerProcess) -> set[str]:
    """The replicas that stand in the page of metrics."""
    return set(re.findall(r'headrace_serve_batch_rows\{replica="(\d)"\}', requests.get(f"{server.url}/metrics").text))


def rate(server: ServerProcess) -> int:
    """Let an answer be given over one connection and rated over another."""
    answer = requests.post(f"{server.url}/v1/completions", json={"prompt": "a", "max_tokens": 1}, timeout=300).json()
    said = {"id": answer["id"], "rating": "up", "consent": True}
    return requests.post(f"{server.url}/v1/feedback", json=said, timeout=300).status_code
