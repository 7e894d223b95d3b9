"""Does the command answer OpenAI's own client, guard its door, and end with what it has begun?"""

import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from tests.support.runs import environment
from tests.support.serving.server import ServerProcess
from tests.support.serving.stores import CHATML, served_store

pytestmark = pytest.mark.slow
SECRET = "a-token-for-this-test"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    folder = tmp_path_factory.mktemp("serve")
    store, _ = served_store(folder, chat=CHATML)
    process = ServerProcess(store, folder / "log.txt", "engine.precision=fp32", HEADRACE_SERVE_TOKEN=SECRET)
    yield process
    process.process.kill()


def test_openais_client_completes_chats_streams_and_raises_as_ever(server: ServerProcess) -> None:
    import openai  # seconds: not for a file that is only collected

    client = openai.OpenAI(base_url=f"{server.url}/v1", api_key=SECRET, max_retries=0)
    champion = [model.id for model in client.models.list()][1]
    asked = {"model": "champion", "prompt": "the mill", "max_tokens": 8, "temperature": 0}
    whole = client.completions.create(**asked, logprobs=2)
    assert whole.model == champion and whole.usage.completion_tokens == 8
    assert len(whole.choices[0].logprobs.token_logprobs) == 8
    pieces = [chunk.choices[0].text for chunk in client.completions.create(**asked, stream=True)]
    assert "".join(pieces) == whole.choices[0].text and len(pieces) > 1
    messages = [{"role": "user", "content": "a"}]
    asked = {"model": "champion", "messages": messages, "max_completion_tokens": 6, "temperature": 0}
    spoken = client.chat.completions.create(**asked, logprobs=True, top_logprobs=2)
    assert len(spoken.choices[0].logprobs.content) == 6
    chunks = list(client.chat.completions.create(**asked, stream=True, stream_options={"include_usage": True}))
    said = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert said == spoken.choices[0].message.content
    assert chunks[-1].usage.completion_tokens == 6
    with pytest.raises(openai.NotFoundError, match="model gpt does not answer"):
        client.completions.create(model="gpt", prompt="a")
    with pytest.raises(openai.BadRequestError, match=r"presence_penalty=1\.0 is not"):
        client.completions.create(model="champion", prompt="a", presence_penalty=1.0)
    with pytest.raises(openai.AuthenticationError, match="missing or wrong"):
        openai.OpenAI(base_url=f"{server.url}/v1", api_key="wrong", max_retries=0).models.list()
    assert SECRET not in server.log.read_text()


def test_a_signal_lets_what_has_begun_end_and_nothing_new_begin(server: ServerProcess) -> None:
    bearer, answers = {"Authorization": f"Bearer {SECRET}"}, list[requests.Response]()
    body = {"prompt": "a", "max_tokens": 60, "temperature": 0}

    def ask() -> None:
        answers.append(requests.post(f"{server.url}/v1/completions", json=body, headers=bearer, timeout=120))

    senders = [threading.Thread(target=ask) for _ in range(20)]  # more than go on at once
    for sender in senders:
        sender.start()
    metrics = f"{server.url}/metrics"
    while "headrace_serve_going 8" not in requests.get(metrics, headers=bearer, timeout=60).text and not answers:
        time.sleep(0.01)
    code = server.terminate()
    for sender in senders:
        sender.join()
    assert [(answer.status_code, answer.json()["usage"]["completion_tokens"]) for answer in answers] == [(200, 60)] * 20
    assert code in (0, -15, 143)
    with pytest.raises(requests.ConnectionError):
        requests.get(f"{server.url}/health", timeout=5)


def test_without_a_token_or_a_champion_nothing_is_served(tmp_path: Path) -> None:
    def refused(*options: str) -> str:
        argv = [sys.executable, "-m", "ray_jobs", "serve", f"store={tmp_path}/lake", *options]
        done = subprocess.run(argv, env=environment(), capture_output=True, text=True, timeout=300, check=False)
        assert done.returncode == 2
        return done.stderr

    assert "lets other machines ask, and there is no token" in refused("--host", "0.0.0.0")
    assert "has no champion yet; let a run be judged" in refused()
