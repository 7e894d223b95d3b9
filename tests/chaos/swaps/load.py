"""Which answers come back while champions change, and is each the one that its checkpoint gives alone?"""

import json
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from random import Random
from typing import NamedTuple

import requests

from cluster.storage.store import Store
from tests.support.serving.server import ServerProcess
from tests.support.serving.stores import promote

PROMPTS = ("The mill ", "a", "Grain, flour and bread: ", "river wind", "0123456789", "é, ", "Who ", "wheel " * 4)
SENDERS = 6
Ask = Callable[[str, bool], "Given"]  # a prompt, and whether its answer is streamed


class Given(NamedTuple):
    """An answer: of which checkpoint, by name and fingerprint, and its text."""

    model: str
    fingerprint: str
    text: str


@dataclass
class Tally:
    """What came back."""

    answered: Counter[str] = field(default_factory=Counter)  # by checkpoint
    failed: list[str] = field(default_factory=list)
    mixed: list[str] = field(default_factory=list)
    slowest_s: float = 0.0
    swaps: int = 0
    killed: int = 0  # replicas
    retried: int = 0  # requests that a client repeated by itself
    broken_streams: int = 0  # that were asked for again
    seconds: float = 0.0


def ask(url: str, prompt: str, is_streamed: bool) -> Given:
    """Ask once; ValueError where the answer is none, or says that it is of two checkpoints."""
    body = {"prompt": prompt, "max_tokens": 8 + len(prompt) % 9, "temperature": 0, "stream": is_streamed}
    answer = requests.post(f"{url}/v1/completions", json=body, timeout=600)
    if answer.status_code != 200:
        raise ValueError(f"{answer.status_code}: {answer.text}")
    if not is_streamed:
        whole = answer.json()
        return Given(whole["model"], whole["system_fingerprint"], whole["choices"][0]["text"])
    lines = [line.removeprefix("data: ") for line in answer.content.decode().split("\n\n") if line]
    if lines.pop() != "[DONE]":
        raise ValueError(f"the stream does not end: {answer.text[-200:]}")
    events = [json.loads(line) for line in lines]
    heads = {(event["model"], event["system_fingerprint"]) for event in events}
    text = "".join(choice["text"] for event in events for choice in event["choices"])
    if len(heads) != 1:
        raise ValueError(f"one answer names {heads}")
    return Given(*heads.pop(), text)


def expected_answers(server: ServerProcess, store: Store, names: list[str]) -> dict[tuple[str, str], Given]:
    """Ask each checkpoint alone, one request at a time."""
    found = {}
    for name in names:
        promote(store, name)
        server.wait_for(name)
        for prompt in PROMPTS:
            while (given := ask(server.url, prompt, is_streamed=False)).model != name:
                time.sleep(0.05)  # another replica has not looked yet
            found[name, prompt] = given
    return found


def swap_under_load(
    server: ServerProcess,
    store: Store,
    names: list[str],
    num_requests: int,
    seed: int,
    asking: Callable[[str, Tally], Ask] = lambda url, _: partial(ask, url),
    kills: int = 0,
) -> Tally:
    """Let senders ask while one name after the other is put in service, evenly over the requests, and each answers.

    There are more requests where a change takes longer than its share of them. kills: of replicas, in the first
    changes, one each, while both checkpoints answer.
    """
    expected = expected_answers(server, store, names)
    promote(store, names[0])
    server.wait_for(names[0])
    tally, lock, left = Tally(), threading.Lock(), iter(range(num_requests))

    def send(worker: int) -> None:
        draw, asks = Random(f"{seed}/{worker}"), asking(server.url, tally)
        while True:
            with lock:
                if next(left, None) is None and tally.swaps == len(names) - 1:
                    return
            prompt, is_streamed = draw.choice(PROMPTS), draw.random() < 0.5
            began = time.monotonic()
            try:
                given = asks(prompt, is_streamed)
            except Exception as error:  # whatever it is, it is a request that failed
                with lock:
                    tally.failed.append(repr(error)[:300])
                continue
            with lock:
                tally.answered[given.model] += 1
                tally.slowest_s = max(tally.slowest_s, time.monotonic() - began)
                if given != expected[given.model, prompt]:
                    tally.mixed.append(f"{prompt!r} of {given}: {expected[given.model, prompt]}")

    began = time.monotonic()
    senders = [threading.Thread(target=send, args=(worker,)) for worker in range(SENDERS)]
    for sender in senders:
        sender.start()
    for number, name in enumerate(names[1:], 1):
        _wait(lambda number=number: _done(tally) >= number * num_requests // len(names))  # type: ignore[misc]
        _wait(lambda before=names[number - 1]: tally.answered[before] > 0 or bool(tally.failed))  # type: ignore[misc]
        promote(store, name)
        if number <= kills:
            server.kill_replica()
            tally.killed += 1
        server.wait_for(name)
        tally.swaps += 1
    for sender in senders:
        sender.join()
    tally.seconds = time.monotonic() - began
    return tally


def _done(tally: Tally) -> int:
    return tally.answered.total() + len(tally.failed)


def _wait(is_so: Callable[[], bool]) -> None:
    while not is_so():
        time.sleep(0.01)
