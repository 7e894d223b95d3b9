"""Is feedback kept with consent alone, durably, once, with who wrote which text, and can learning tell them apart?"""

import asyncio
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
import pytest

from cluster.http.asgi import RefusedError
from data_ops.sources.kinds import open_source
from ray_jobs.config.blocks import FeedbackConfig
from ray_jobs.config.reading import read_config
from ray_jobs.outcome import ConfigError
from ray_jobs.serving.feedback.desk import FeedbackDesk, Taken, is_of_share, source_lines
from ray_jobs.serving.feedback.held import HeldAnswer
from ray_jobs.serving.feedback.records import Feedback

ASKED = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Who mills?"}]
RATED: list[tuple[str, bool]] = []


def answer(name: str = "a", *, consents: bool = False, texts: tuple[str, ...] = ("The wind.",)) -> HeldAnswer:
    return HeldAnswer(name, "mine/00000120", "fp_0123456789ab", (ASKED,) * len(texts), texts, consents)


def desk_in(folder: Path, clock: Callable[[], float] = time.time, **more: Any) -> FeedbackDesk:
    RATED.clear()
    config = FeedbackConfig.model_validate({"folder": str(folder / "said"), **more})
    return FeedbackDesk(config, lambda answer, is_up: RATED.append((answer.checkpoint, is_up)), clock=clock)


def take(desk: FeedbackDesk, said: Feedback, consent: bool | None = True, name: str = "a") -> Taken:
    return asyncio.run(desk.take(name, said, consent))


def kept(folder: Path) -> dict[str, list[dict[str, Any]]]:
    """What is in the spools, by folder."""
    found: dict[str, list[dict[str, Any]]] = {}
    for path in sorted((folder / "said").rglob("*.jsonl")):
        lines = [orjson.loads(line) for line in path.read_bytes().splitlines()]
        found.setdefault(str(path.parent.relative_to(folder / "said")), []).extend(lines)
    return found


def test_without_consent_a_thumb_is_counted_and_not_a_byte_is_stored(tmp_path: Path) -> None:
    desk = desk_in(tmp_path)
    desk.hold(answer())
    assert take(desk, Feedback(rating="down"), None) == Taken("mine/00000120", stored=False, is_new=False)
    assert not take(desk, Feedback(rating="up"), False).stored
    with pytest.raises(RefusedError, match="kept with consent alone; send consent=true") as refused:
        take(desk, Feedback(correction="The water."), None)
    assert refused.value.param == "consent"
    assert kept(tmp_path) == {} and RATED == [("mine/00000120", False)], "a choice counts once, by its first thumb"


def test_what_is_stored_says_who_wrote_it_and_of_which_weights_it_is(tmp_path: Path) -> None:
    desk = desk_in(tmp_path)
    for name in "abc":
        desk.hold(answer(name))
    said = {"a": Feedback(correction="The water."), "b": Feedback(rating="up"), "c": Feedback(rating="down")}
    for name, one in said.items():
        assert take(desk, one, name=name) == Taken("mine/00000120", stored=True, is_new=True)
    assert RATED == [("mine/00000120", False), ("mine/00000120", True), ("mine/00000120", False)]
    found = {place: rows[0] for place, rows in kept(tmp_path).items()}
    assert found.keys() == {"person/corrected", "model/up", "model/down"}
    for row in found.values():
        assert (row["checkpoint"], row["fingerprint"]) == ("mine/00000120", "fp_0123456789ab")
        assert row["prompt"] == ASKED and row["consent"] == "feedback"
    corrected, liked, disliked = (found[place] for place in ("person/corrected", "model/up", "model/down"))
    assert (corrected["author"], corrected["completion"]) == ("person", "The water.")
    assert (corrected["rejected"], corrected["rejected_author"]) == ("The wind.", "model"), "a preference pair"
    assert (liked["author"], liked["completion"], liked["rating"]) == ("model", "The wind.", "up")
    assert "completion" not in disliked and disliked["rejected"] == "The wind."


@pytest.mark.slow
def test_the_source_that_is_printed_reads_corrections_as_conversations_and_never_the_models_words(
    tmp_path: Path,
) -> None:
    desk = desk_in(tmp_path)
    desk.hold(answer(texts=("The wind.", "A bird.")))
    take(desk, Feedback(0, "up"))
    take(desk, Feedback(1, "down", "The water."))
    lines = source_lines(str(tmp_path / "said"))
    config = read_config([], [f"sources={{{lines[0]}}}"]).sources["corrected"]
    source = open_source("corrected", config.model_copy(update={"settle": 0.0}))
    rows = [row for span in source.discover({}, 100).spans for batch in source.read(span) for row in batch.to_pylist()]
    assert [(row["text"], row["external_id"]) for row in rows] == [("◆ Be brief.\n▶ Who mills?\n◀ The water.", "a/1")]


def test_who_asked_may_let_an_answer_be_kept_and_a_share_of_those_is_unrated(tmp_path: Path) -> None:
    async def many() -> None:
        desk = desk_in(tmp_path, share=0.25)
        for number in range(80):
            desk.hold(answer(f"a{number}", consents=number % 2 == 0))
        while len(kept(tmp_path).get("model/unrated", [])) < len(chosen):
            await asyncio.sleep(0.005)

    chosen = [f"a{number}" for number in range(0, 80, 2) if is_of_share(f"a{number}", 0.25)]
    assert 4 < len(chosen) < 20
    asyncio.run(many())
    rows = kept(tmp_path)["model/unrated"]
    assert sorted(row["id"] for row in rows) == sorted(chosen)
    assert {(row["author"], row["consent"]) for row in rows} == {("model", "request")}


def test_consent_of_the_request_is_enough_and_that_of_the_feedback_overrules_it(tmp_path: Path) -> None:
    desk = desk_in(tmp_path, share=0)

    async def said() -> list[Taken]:
        desk.hold(answer("a", consents=True))
        return [await desk.take("a", Feedback(rating=how), consent) for how, consent in (("up", None), ("down", False))]

    assert [taken.stored for taken in asyncio.run(said())] == [True, False]
    assert {place: rows[0]["consent"] for place, rows in kept(tmp_path).items()} == {"model/up": "request"}


def test_said_twice_it_is_stored_once_and_another_word_is_stored_too(tmp_path: Path) -> None:
    desk = desk_in(tmp_path)
    desk.hold(answer())
    first, again = take(desk, Feedback(rating="down")), take(desk, Feedback(rating="down"))
    assert (first.is_new, again.is_new, again.stored) == (True, False, True)
    assert take(desk, Feedback(rating="up")).is_new
    assert {place: len(rows) for place, rows in kept(tmp_path).items()} == {"model/down": 1, "model/up": 1}


def test_what_is_not_held_any_more_or_was_never_given_is_said(tmp_path: Path) -> None:
    now = 1000.0
    desk = desk_in(tmp_path, lambda: now, hold="10s")
    desk.hold(answer())
    now = 1009.0
    assert take(desk, Feedback(rating="up")).stored
    with pytest.raises(RefusedError, match="index=3 is beyond the 1 choices of a"):
        take(desk, Feedback(3, "up"))
    now = 1011.0
    with pytest.raises(RefusedError, match="answer a is not held here; an answer can be spoken of for 10 s") as refused:
        take(desk, Feedback(rating="up"))
    assert refused.value.status == 404


def test_memory_is_bounded_and_the_oldest_give_way(tmp_path: Path) -> None:
    desk = desk_in(tmp_path, memory=2**20)
    for number in range(50):
        desk.hold(answer(f"a{number}", texts=("x" * 100_000,)))
    there = [number for number in range(50) if desk.held.find(f"a{number}")]
    assert there == list(range(40, 50))


def test_a_full_disk_is_said_and_nothing_is_called_stored(tmp_path: Path) -> None:
    desk = desk_in(tmp_path)
    desk.hold(answer())
    place = tmp_path / "said" / "model" / "up"
    for path in place.glob("*"):
        path.unlink()
    place.rmdir()
    with pytest.raises(RefusedError, match="the spool takes nothing") as refused:
        take(desk, Feedback(rating="up"))
    assert refused.value.status == 507
    place.mkdir()
    assert take(desk, Feedback(rating="up")).is_new, "the same feedback, sent again, is stored then"


def test_two_servers_do_not_write_into_one_folder(tmp_path: Path) -> None:
    first = desk_in(tmp_path)
    with pytest.raises(ConfigError, match="another server writes into serve"):
        desk_in(tmp_path)
    first.close()
    desk_in(tmp_path).close()
