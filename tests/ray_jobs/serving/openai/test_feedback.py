"""Does an answer's id lead back to it: to be spoken of over HTTP, and to the checkpoint and rounds that gave it?"""

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from typer.testing import CliRunner

from cluster.storage.store import Store
from ray_jobs.__main__ import app
from ray_jobs.config.reading import read_config
from ray_jobs.serving.serve import Server, start_serving
from tests.support.serving.asgi import Reply, request
from tests.support.serving.stores import CHATML, served_store

pytestmark = pytest.mark.slow
MESSAGES = [{"role": "user", "content": "a"}]
CHAT, FEEDBACK = "/v1/chat/completions", "/v1/feedback"


class Open(NamedTuple):
    """A server in this process that takes feedback."""

    server: Server
    store: Store
    name: str
    said: Path

    def ask(self, path: str, body: object) -> Reply:
        return asyncio.run(request(self.server.app, path, body))

    def kept(self) -> list[dict[str, Any]]:
        lines = [line for path in self.said.rglob("*.jsonl") for line in path.read_text().splitlines()]
        return [json.loads(line) for line in lines]


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Open]:
    folder = tmp_path_factory.mktemp("feedback")
    store, names = served_store(folder, chat=CHATML)
    settings = [f"store={store.uri}", "engine.precision=fp32", "serve.look_every=1h"]
    server = start_serving(read_config([], [*settings, f"serve.feedback.folder={folder}/said"]), None, lambda _: None)
    yield Open(server, store, names[0], folder / "said")
    server.watch.stop()
    server.loop.stop()
    server.desk.close()


def test_an_answer_streamed_or_whole_can_be_corrected_by_its_id(opened: Open) -> None:
    body = {"messages": MESSAGES, "temperature": 0, "max_tokens": 5}
    whole = opened.ask(CHAT, body).json()
    events = opened.ask(CHAT, {**body, "stream": True}).events()
    assert {event["id"] for event in events} != {whole["id"]}
    for id in (whole["id"], events[0]["id"]):
        said = {"id": id, "rating": "down", "correction": "The water.", "consent": True}
        first, again = opened.ask(FEEDBACK, said), opened.ask(FEEDBACK, said)
        assert (first.status, again.status) == (201, 200), first.body
        assert first.json() == {"id": id, "object": "feedback", "checkpoint": opened.name, "stored": True}
    rows = opened.kept()
    assert [row["id"] for row in rows] == [whole["id"], events[0]["id"]]
    assert {(str(row["prompt"]), row["rejected"]) for row in rows} == {
        (str(MESSAGES), whole["choices"][0]["message"]["content"])
    }
    page = opened.ask("/metrics", None).body.decode()
    assert 'headrace_serve_feedback_total{rating="down",stored="true"} 4.0' in page


def test_a_completion_is_held_with_its_own_prompt_and_an_echo_is_not(opened: Open) -> None:
    ids = opened.server.watch.current.speaker.tokenizer.encode(["ab"])[0].as_py()
    body = {"prompt": [[99], ids], "n": 2, "temperature": 0, "max_tokens": 3}
    answer = opened.ask("/v1/completions", body).json()
    assert opened.ask(FEEDBACK, {"id": answer["id"], "index": 3, "rating": "up", "consent": True}).status == 201
    found = next(row for row in opened.kept() if row["id"] == f"{answer['id']}/3")
    assert (found["prompt"], found["completion"]) == ("ab", answer["choices"][3]["text"])
    echoed = opened.ask("/v1/completions", {**body, "echo": True}).json()
    assert opened.ask(FEEDBACK, {"id": echoed["id"], "rating": "up"}).status == 404


@pytest.mark.parametrize(
    ("said", "status", "words"),
    [
        ({"rating": "up"}, 400, "id is missing"),
        ({"id": "cmpl-1", "rating": "up", "consent": True}, 404, "answer cmpl-1 is not held here"),
        ({"id": "cmpl-1"}, 400, "rating and correction are both missing"),
        ({"id": "cmpl-1", "rating": "fine"}, 400, 'rating="fine" is not taken'),
        ({"id": "cmpl-1", "correction": "  "}, 400, "correction is blank"),
        ({"id": "cmpl-1", "rating": "up", "text": "a"}, 400, "text is no field that is known here"),
    ],
)
def test_feedback_that_cannot_be_taken_is_refused_in_a_sentence(
    opened: Open, said: dict[str, object], status: int, words: str
) -> None:
    reply = opened.ask(FEEDBACK, said)
    assert (reply.status, words in reply.json()["error"]["message"]) == (status, True), reply.body


def test_trace_follows_an_answer_of_which_nothing_was_kept(opened: Open) -> None:
    answer = opened.ask(CHAT, {"messages": MESSAGES, "temperature": 0, "max_tokens": 5}).json()

    def traced(name: str) -> Any:
        return CliRunner().invoke(app, ["trace", name, f"store={opened.store.uri}", "--json"])

    told = json.loads(traced(answer["id"]).stdout.splitlines()[-1])
    assert (told["checkpoint"], told["fingerprint"]) == (opened.name, answer["system_fingerprint"])
    assert (told["weights"], told["feedback"], told["taught_by"]) == ("same", [], [])
    assert [one["how"] for one in told["in_service"]] == ["by hand"]
    forged = answer["id"].replace(answer["system_fingerprint"][3:], "0" * 12)
    assert json.loads(traced(forged).stdout.splitlines()[-1])["weights"] == "other"
    shown = CliRunner().invoke(app, ["trace", answer["id"], f"store={opened.store.uri}"]).stdout
    assert "kept, and its weights are those" in shown and "no round of this store" in shown
    elsewhere = traced(answer["id"].replace(opened.name.partition("/")[0], "other"))
    assert "has never committed" in str(elsewhere.exception)
