"""Does a new champion answer its share, and go back by itself, with a reason, when people rate it worse?"""

import asyncio
import time
from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest

from cluster.storage.store import Store
from ray_jobs.checkpoints.champion import InService, read_champion
from ray_jobs.config.reading import read_config
from ray_jobs.registry.champion import put_in_service
from ray_jobs.registry.champions import How, champions
from ray_jobs.serving.canary.record import CanaryRecord
from ray_jobs.serving.canary.weighing import Sides
from ray_jobs.serving.serve import Server, start_serving
from tests.support.serving.asgi import Reply, request
from tests.support.serving.stores import promote, served_store

pytestmark = pytest.mark.slow


class Tried(NamedTuple):
    """A store with checkpoints; servers that are started in it end with the test."""

    store: Store
    names: list[str]
    servers: list[Server]
    said: list[str]

    def start(self, **more: object) -> Server:
        settings = [f"store={self.store.uri}", "engine.precision=fp32", "serve.look_every=1h", "serve.canary.share=0.5"]
        server = start_serving(
            read_config([], [*settings, *(f"{key}={value}" for key, value in more.items())]), None, self.said.append
        )
        self.servers.append(server)
        return server

    def promoted(self, name: str) -> None:
        """Put a checkpoint in service as the gate does."""
        before = read_champion(self.store)
        assert before is not None
        put_in_service(self.store, InService(checkpoint=name, decided=time.time(), previous=before.checkpoint))

    def record(self) -> CanaryRecord:
        """What is written down of the champion's canary."""
        entry = read_champion(self.store)
        assert entry is not None
        return CanaryRecord(self.store, entry)


@pytest.fixture
def tried(tried_store: tuple[Store, list[str]]) -> Iterator[Tried]:
    store, names = tried_store
    for path in store.list("registry/canaries"):
        store.delete(path)
    promote(store, names[0])
    one = Tried(store, names, [], [])
    yield one
    for server in one.servers:
        server.watch.stop()
        server.loop.stop()
        server.desk.close()


@pytest.fixture(scope="module")
def tried_store(tmp_path_factory: pytest.TempPathFactory) -> tuple[Store, list[str]]:
    return served_store(tmp_path_factory.mktemp("canary"), checkpoints=3)


def units(sides: Sides) -> int:
    """How many have said something."""
    return sides.new.count + sides.old.count


def ask(server: Server, path: str, body: object) -> Reply:
    return asyncio.run(request(server.app, path, body))


def answered(server: Server, user: str, **more: object) -> dict[str, Any]:
    body = {"prompt": "a", "max_tokens": 1, "temperature": 0, "user": user, **more}
    reply = ask(server, "/v1/completions", body)
    assert reply.status == 200, reply.body
    return dict(reply.json())


def rate(server: Server, users: int, downs: dict[str, float], first: int = 0) -> None:
    """Let users ask once and rate what they got: of each checkpoint so many of each ten down."""
    for number in range(first, first + users):
        answer = answered(server, f"user-{number}")
        rating = "down" if number % 10 < 10 * downs[answer["model"]] else "up"
        assert ask(server, "/v1/feedback", {"id": answer["id"], "rating": rating}).status == 200


def test_a_new_champion_that_people_rate_worse_goes_back_with_the_reason_in_the_registry(tried: Tried) -> None:
    server = tried.start()
    good, bad = tried.names[:2]
    tried.promoted(bad)
    server.watch.look()
    assert ask(server, "/health", None).json()["canary"] == bad
    rate(server, 150, {good: 0.1, bad: 1.0})
    server.watch.look()
    entry = read_champion(tried.store)
    assert entry is not None and (entry.checkpoint, entry.previous) == (good, bad)
    assert "is rolled back: people rate it worse: 100.0% thumbs down of" in str(entry.reason)
    server.watch.look()
    assert server.watch.trial is None and server.watch.current.name == good
    assert {answered(server, f"user-{n}")["model"] for n in range(20)} == {good}
    last = champions(tried.store)[-1]
    assert (last.how, last.name) == (How.ROLLBACK, good) and last.reason == entry.reason
    assert server.watch.trouble is None and any("is rolled back to" in line for line in tried.said)


def test_one_that_is_rated_alike_stays_until_its_time_is_over_and_takes_over(tried: Tried) -> None:
    server = tried.start()
    old, new = tried.names[:2]
    tried.promoted(new)
    server.watch.look()
    rate(server, 120, {old: 0.2, new: 0.2})
    server.watch.look()
    trial = server.watch.trial
    assert trial is not None, "what is not shown goes on"
    assert trial.look(time.time() + 3600) is not None
    server.watch.look()
    assert (server.watch.trial, server.watch.current.name) == (None, new)
    assert {answered(server, f"user-{n}")["model"] for n in range(20)} == {new}
    assert any("takes over: its time is over; nothing shown: " in line for line in tried.said)
    assert tried.start().watch.trial is None, "a server that starts later does not try it again"


def test_a_conversation_and_a_user_stay_on_one_side_and_shares_are_kept(tried: Tried) -> None:
    server = tried.start(**{"serve.canary.share": 0.2})
    tried.promoted(tried.names[1])
    server.watch.look()
    sides = {f"user-{n}": answered(server, f"user-{n}")["model"] for n in range(100)}
    assert {user: answered(server, user)["model"] for user in sides} == sides
    assert 8 <= sum(model == tried.names[1] for model in sides.values()) <= 34
    assert answered(server, "user-1", model=tried.names[0])["model"] == tried.names[0]
    assert answered(server, "user-1", model=tried.names[1])["model"] == tried.names[1]


def test_a_unit_counts_once_and_who_chose_a_checkpoint_does_not_count(tried: Tried) -> None:
    server = tried.start()
    tried.promoted(tried.names[1])
    server.watch.look()
    for _ in range(3):
        answer = answered(server, "user-1")
        ask(server, "/v1/feedback", {"id": answer["id"], "rating": "down"})
    chosen = answered(server, "user-2", model=tried.names[1])
    ask(server, "/v1/feedback", {"id": chosen["id"], "rating": "down"})
    server.watch.look()
    assert units(tried.record().sides()) == 1


def test_another_server_takes_up_the_canary_with_all_thumbs_and_no_level_twice(tried: Tried) -> None:
    first = tried.start()
    good, bad = tried.names[:2]
    tried.promoted(bad)
    first.watch.look()
    rate(first, 100, {good: 0.1, bad: 0.2})
    first.watch.look()
    second = tried.start()
    record = tried.record()
    assert second.watch.trial is not None and second.watch.current.name == good
    assert [look.look for look in record.looks()] == [1]
    rate(second, 150, {good: 0.1, bad: 1.0}, first=100)
    second.watch.look()
    looks = record.looks()
    assert [look.look for look in looks] == [1, 2]
    assert units(looks[1].sides) == 250
    assert looks[1].level < looks[0].level
    first.watch.look()
    assert (first.watch.trial, first.watch.current.name) == (None, good)


def test_moved_by_hand_it_answers_all_at_once_and_a_third_one_ends_the_canary(tried: Tried) -> None:
    server = tried.start()
    first, second, third = tried.names
    promote(tried.store, second)
    server.watch.look()
    assert (server.watch.trial, server.watch.current.name) == (None, second)
    server.watch.look()
    tried.promoted(third)
    server.watch.look()
    assert server.watch.trial is not None
    tried.promoted(first)
    for _ in range(2):
        server.watch.look()
    assert server.watch.trial is not None and [one.name for one in server.watch.answering] == [second, first]
    promote(tried.store, second)
    server.watch.look()
    assert [one.name for one in server.watch.answering] == [second]
