"""Does the champion answer as OpenAI's clients expect, alone and among others, while champions change?"""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from prometheus_client.parser import text_string_to_metric_families

from cluster.storage.store import Store
from ray_jobs.config.reading import read_config
from ray_jobs.serving.serve import Server, start_serving
from tests.support.serving.asgi import Reply, request
from tests.support.serving.stores import CHATML, promote, served_store

pytestmark = pytest.mark.slow
GREEDY = {"temperature": 0, "max_tokens": 12}


class Served(NamedTuple):
    """A server in this process, and what it serves."""

    server: Server
    store: Store
    names: list[str]
    said: list[str]

    def ask(self, path: str, body: object = None, **more: Any) -> Reply:
        return asyncio.run(request(self.server.app, path, body, **more))

    def ask_all(self, *bodies: object, path: str = "/v1/completions") -> list[Reply]:
        async def together() -> list[Reply]:
            return await asyncio.gather(*(request(self.server.app, path, body) for body in bodies))

        return asyncio.run(together())


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    store, names = served_store(tmp_path_factory.mktemp("served"), checkpoints=2)
    said: list[str] = []
    settings = [f"store={store.uri}", "engine.precision=fp32", "serve.batch=4", "serve.queue=16", "serve.look_every=1h"]
    server = start_serving(read_config([], settings), None, said.append)
    yield Served(server, store, names, said)
    server.watch.stop()
    server.loop.stop()


def text(reply: Reply) -> str:
    assert reply.status == 200, reply.body
    return str(reply.json()["choices"][0]["text"])


def test_a_request_that_fails_within_is_counted_as_one_that_failed(served: Served) -> None:
    async def broken() -> dict[str, Any]:
        raise OSError("the connection is lost")

    async def send(_message: object) -> None: ...

    scope = {"type": "http", "path": "/v1/completions", "method": "POST", "headers": []}
    with pytest.raises(OSError, match="lost"):
        asyncio.run(served.server.app(scope, broken, send))
    page = served.ask("/metrics").body.decode()
    assert 'headrace_serve_requests_total{path="/v1/completions",status="500"} 1.0' in page


def test_an_answer_names_its_checkpoint_and_counts_its_tokens(served: Served) -> None:
    answer = served.ask("/v1/completions", {"prompt": "the mill", **GREEDY}).json()
    assert answer["object"] == "text_completion"
    assert answer["model"] == served.names[0]
    assert answer["system_fingerprint"].startswith("fp_")
    assert answer["usage"] == {"prompt_tokens": 9, "completion_tokens": 12, "total_tokens": 21}
    assert answer["choices"][0]["finish_reason"] == "length"


def test_a_stream_is_the_same_answer_in_pieces(served: Served) -> None:
    body = {"prompt": "the mill", **GREEDY, "logprobs": 2, "n": 2}
    whole = served.ask("/v1/completions", body).json()
    events = served.ask("/v1/completions", {**body, "stream": True, "stream_options": {"include_usage": True}}).events()
    assert events[-1]["usage"] == whole["usage"] and events[-1]["choices"] == []
    for index, choice in enumerate(whole["choices"]):
        pieces = [one for event in events for one in event["choices"] if one["index"] == index]
        assert "".join(piece["text"] for piece in pieces) == choice["text"]
        assert [one["finish_reason"] for one in pieces if one["finish_reason"]] == ["length"]
        for field in ("tokens", "token_logprobs", "top_logprobs"):
            told = [value for piece in pieces if piece["logprobs"] for value in piece["logprobs"][field]]
            assert told == choice["logprobs"][field]


def test_an_answer_is_the_same_alone_and_among_others_greedy_and_drawn(served: Served) -> None:
    asked = [
        {"prompt": "abcdefgh"[:n], "max_tokens": 5 + n, "temperature": n % 3 / 2, "seed": n, "logprobs": 1}
        for n in range(1, 9)
    ]
    alone = [served.ask("/v1/completions", body).json()["choices"] for body in asked]
    assert [reply.json()["choices"] for reply in served.ask_all(*asked)] == alone


def test_several_prompts_and_answers_come_in_order(served: Served) -> None:
    body = {"prompt": ["ab", [99, 100]], "n": 2, "seed": 5, "max_tokens": 4, "temperature": 1}
    choices = served.ask("/v1/completions", body).json()["choices"]
    assert [choice["index"] for choice in choices] == [0, 1, 2, 3]
    second = served.ask("/v1/completions", {**body, "prompt": "ab", "n": 1, "seed": 6})
    assert choices[1]["text"] == text(second)


def test_echo_tells_the_prompts_likelihoods_as_harnesses_read_them(served: Served) -> None:
    ids = [104, 101, 121, 32]
    body = {"prompt": ids, "echo": True, "logprobs": 1, "max_tokens": 1, "temperature": 0}
    logprobs = served.ask("/v1/completions", body).json()["choices"][0]["logprobs"]
    assert len(logprobs["tokens"]) == len(ids) + 1
    assert logprobs["token_logprobs"][0] is None and logprobs["top_logprobs"][0] is None
    alone = served.ask("/v1/completions", {"prompt": ids, "logprobs": 1, "max_tokens": 1, "temperature": 0}).json()
    first = alone["choices"][0]["logprobs"]["token_logprobs"][0]
    assert logprobs["token_logprobs"][-1] == pytest.approx(first, abs=1e-4)
    nothing = served.ask("/v1/completions", {"prompt": "hey ", "echo": True, "max_tokens": 0, "logprobs": 1}).json()
    assert nothing["choices"][0]["text"] == "hey " and nothing["usage"]["completion_tokens"] == 0
    assert None not in nothing["choices"][0]["logprobs"]["token_logprobs"], "a document begins with its token"


def test_a_stop_sequence_ends_an_answer(served: Served) -> None:
    whole = text(served.ask("/v1/completions", {"prompt": "the mill", **GREEDY}))
    stop = whole[4:6]
    cut = served.ask("/v1/completions", {"prompt": "the mill", **GREEDY, "stop": [stop]})
    assert text(cut) == whole[: whole.index(stop)]
    assert cut.json()["choices"][0]["finish_reason"] == "stop"


@pytest.mark.parametrize(
    ("path", "body", "status", "words"),
    [
        ("/v1/completions", {"prompt": "a" * 64, "max_tokens": 1}, 400, "are more than the 64 tokens that"),
        ("/v1/completions", {"prompt": [9999]}, 400, "token 9999 is beyond the vocabulary"),
        ("/v1/completions", {"prompt": "a", "max_tokens": 0}, 400, "asks for nothing"),
        ("/v1/completions", {"prompt": "a", "model": "gpt"}, 404, "model gpt does not answer; champion does"),
        ("/v1/completions", {"prompt": "a", "n": 100}, 400, "100 answers are more than the 16 that may wait"),
        ("/v1/completions", {"prompt": ["a", "b"], "n": 100}, 400, "2 prompts with n=100 are more than 128"),
        ("/v1/completions", b"x" * (2**20 + 1), 413, "may hold 1048576 bytes"),
        ("/v1/completions", None, 405, "GET is not answered at /v1/completions; use POST"),
        ("/v1/chat/completions", {"messages": [{"role": "user", "content": "a"}]}, 400, "has no chat template"),
        ("/v1/embeddings", {"input": "a"}, 404, "nothing is at /v1/embeddings"),
        ("/v1/models/gpt", None, 404, "model gpt does not answer"),
    ],
)
def test_what_cannot_be_answered_is_refused_in_openais_shape(
    served: Served, path: str, body: object, status: int, words: str
) -> None:
    reply = served.ask(path, body)
    error = reply.json()["error"]
    assert (reply.status, words in error["message"], set(error)) == (
        status,
        True,
        {"message", "type", "param", "code"},
    ), error


def test_more_than_may_wait_are_told_to_come_again_and_the_others_are_answered(served: Served) -> None:
    replies = served.ask_all(*[{"prompt": "a", "max_tokens": 40, "temperature": 0}] * 40)
    statuses = {reply.status for reply in replies}
    assert statuses == {200, 429}
    refused = next(reply for reply in replies if reply.status == 429)
    assert b"retry-after" in refused.headers and "come again" in refused.json()["error"]["message"]
    assert len({text(reply) for reply in replies if reply.status == 200}) == 1


def test_who_hangs_up_frees_the_place(served: Served) -> None:
    gone = served.ask("/v1/completions", {"prompt": "a", "max_tokens": 60, "temperature": 0}, gone_after_s=0.0)
    assert gone.status == 0
    text(served.ask("/v1/completions", {"prompt": "a", **GREEDY}))
    assert (served.server.loop.num_waiting, served.server.loop.num_going) in ((0, 0), (0, 1))


def test_models_and_health_name_the_champion(served: Served) -> None:
    listed = served.ask("/v1/models").json()["data"]
    assert [model["id"] for model in listed] == ["champion", served.names[0]]
    assert served.ask("/v1/models/champion").json()["id"] == "champion"
    assert served.ask("/health").json() == {"ok": True, "checkpoint": served.names[0], "trouble": None}


def test_metrics_count_requests_and_tokens(served: Served) -> None:
    def value(name: str, **labels: str) -> float:
        page = served.ask("/metrics").body.decode()
        samples = [one for family in text_string_to_metric_families(page) for one in family.samples]
        return sum(one.value for one in samples if one.name == name and labels.items() <= one.labels.items())

    before = value("headrace_serve_tokens_total", kind="completion")
    answered = value("headrace_serve_requests_total", path="/v1/completions", status="200")
    text(served.ask("/v1/completions", {"prompt": "a", **GREEDY}))
    assert value("headrace_serve_tokens_total", kind="completion") == before + 12
    assert value("headrace_serve_requests_total", path="/v1/completions", status="200") == answered + 1
    assert value("headrace_serve_checkpoint", checkpoint=served.names[0]) == 1


def test_a_promotion_takes_over_for_new_requests_and_those_that_run_end_on_the_old(served: Served) -> None:
    body = {"prompt": "the mill", "max_tokens": 50, "temperature": 0}

    async def during() -> tuple[Reply, Reply]:
        first = asyncio.create_task(request(served.server.app, "/v1/completions", body))
        while not served.server.loop.num_going:
            await asyncio.sleep(0)
        promote(served.store, served.names[1])
        await asyncio.to_thread(served.server.watch.look)
        return await first, await request(served.server.app, "/v1/completions", body)

    old, new = asyncio.run(during())
    promote(served.store, served.names[0])
    served.server.watch.look()
    back = served.ask("/v1/completions", body)
    assert [reply.json()["model"] for reply in (old, new, back)] == [
        served.names[0],
        served.names[1],
        served.names[0],
    ]
    assert text(old) == text(back) != text(new)
    fingerprints = [reply.json()["system_fingerprint"] for reply in (old, new, back)]
    assert fingerprints[0] == fingerprints[2] != fingerprints[1]
    assert served.ask("/v1/completions", {**body, "model": served.names[1]}).status == 404


def test_a_champion_that_is_damaged_keeps_the_old_one_answering_and_is_said(served: Served) -> None:
    weights = next(
        Path(str(served.store.local_path("runs"))).glob(f"{served.names[1].partition('/')[0]}/**/*.safetensors")
    )
    whole = weights.read_bytes()
    weights.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    promote(served.store, served.names[1])
    served.server.watch.look()
    trouble = served.ask("/health").json()["trouble"]
    assert f"{served.names[0]} goes on answering" in trouble and "does not hold the bytes" in trouble
    assert served.ask("/v1/completions", {"prompt": "a", **GREEDY}).json()["model"] == served.names[0]
    assert trouble in served.said[-1]
    pointer = Path(str(served.store.local_path("registry/champion.json")))
    pointer.write_bytes(b"{")
    served.server.watch.look()
    assert served.ask("/health").json()["trouble"] != trouble
    weights.write_bytes(whole)
    pointer.unlink()
    promote(served.store, served.names[0])
    served.server.watch.look()
    assert served.ask("/health").json() == {"ok": True, "checkpoint": served.names[0], "trouble": None}


def test_a_model_that_brought_a_chat_template_answers_in_a_conversation(tmp_path: Path) -> None:
    store, names = served_store(tmp_path, chat=CHATML)
    settings = [f"store={store.uri}", "engine.precision=fp32", "serve.look_every=1h"]
    server = start_serving(read_config([], settings), "secret", lambda _: None)
    bearer = {"Authorization": "Bearer secret"}
    body = {"messages": [{"role": "user", "content": "a"}], "logprobs": True, "top_logprobs": 2, "temperature": 0}
    try:
        assert asyncio.run(request(server.app, "/v1/chat/completions", body)).status == 401
        whole = asyncio.run(request(server.app, "/v1/chat/completions", body, bearer)).json()
        streamed = asyncio.run(request(server.app, "/v1/chat/completions", {**body, "stream": True}, bearer)).events()
    finally:
        server.watch.stop()
        server.loop.stop()
    assert (whole["object"], whole["model"]) == ("chat.completion", names[0])
    message, told = whole["choices"][0]["message"], whole["choices"][0]["logprobs"]["content"]
    assert message["role"] == "assistant"
    assert len(told) == whole["usage"]["completion_tokens"] and len(told[0]["top_logprobs"]) == 2
    assert streamed[0]["choices"][0]["delta"]["role"] == "assistant"
    pieces = [one["delta"].get("content", "") for event in streamed for one in event["choices"]]
    assert "".join(pieces) == message["content"]
