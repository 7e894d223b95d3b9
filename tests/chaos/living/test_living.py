"""Is a run that lives judged as it goes, killed where it hurts, and still the run that nobody touched?"""

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from cluster.storage.store import Store
from ray_jobs.checkpoints.champion import InService, read_champion
from ray_jobs.registry.asks import ASKS, asks
from tests.chaos.living.run import RECIPE, RUN, Kill, Living
from tests.chaos.living.verdict import compared, outages_of, waits
from tests.chaos.living.writer import Writer, paragraphs
from tests.support.runs import end_all, finish, start

LONGEST_S = 420.0


@pytest.fixture(autouse=True)
def leave_nothing_running() -> Iterator[None]:
    """A failed test must not leave a run behind."""
    yield
    end_all()


def within(seconds: float, done: Callable[[], bool]) -> Callable[[], bool]:
    """Go on until it is done, or so long."""
    ends = time.monotonic() + seconds
    return lambda: not done() and time.monotonic() < ends


def living_in(folder: Path, every: str, candidate: str, *kills: Kill) -> tuple[Living, Writer]:
    """A run that has not begun, and who writes for it; some text is there already."""
    (folder / "living").mkdir()
    writer = Writer(folder / "living/corpus/wire.jsonl", 12)
    writer.write(300)
    return Living(folder / "living", every, candidate, lambda said: None, list(kills)), writer


@pytest.mark.ray
@pytest.mark.long  # minutes; test_rank.py compares the same bits in one process
@pytest.mark.timeout(1500)
def test_a_run_that_is_judged_and_killed_ends_with_the_bits_of_its_calm_twin(tmp_path: Path) -> None:
    living, writer = living_in(tmp_path, "12 rounds", "best_of", Kill("driver", "branch"), Kill("driver", "candidate"))
    living.follow(writer, within(LONGEST_S, lambda: not living.kills and living.verdicts().count("promoted") > 1), 1.0)
    living.drain()
    (tmp_path / "calm").mkdir()
    result = compared(living, tmp_path / "calm")
    assert result["wrong"] == []
    assert len(living.done) == 2 and result["champions"] >= 2, result
    assert len(result["compared"]) >= 5, "the main line, and the average and the decay of two judgements"


@pytest.mark.ray
@pytest.mark.long  # minutes; test_rank.py compares the same bits in one process
@pytest.mark.timeout(1500)
def test_poison_is_trained_and_refused_and_clean_text_promoted_again_and_asks_are_never_forgotten(
    tmp_path: Path,
) -> None:
    living, writer = living_in(tmp_path, "10 rounds", "decay")
    seen: dict[str, int] = {}

    def goes_on() -> bool:
        """Poison behind the first champion until a candidate is refused, then clean text until one is promoted."""
        said = living.verdicts()
        if "promoted" in said:
            seen.setdefault("promoted", said.index("promoted"))
        if "promoted" in seen and "refused" in said[seen["promoted"] :]:
            seen.setdefault("refused", said.index("refused", seen["promoted"]))
        writer.poisoned = "promoted" in seen and "refused" not in seen
        return "refused" not in seen or "promoted" not in said[seen["refused"] :]

    ends = time.monotonic() + 2 * LONGEST_S
    living.follow(writer, lambda: goes_on() and time.monotonic() < ends)
    assert not goes_on(), living.verdicts()
    store = Store.open(str(living.folder / "lake"))
    now = read_champion(store)
    assert now is not None and now.previous is not None
    first, before = now.previous, spent(store)
    code, _ = finish(start(living.folder, f"--to={first}", recipe=RECIPE, command="promote"))
    assert code == 0 and champion(store).by_hand and champion(store).checkpoint == first
    writer.write(600)
    living.drain()
    after = spent(store)
    against = next(name for name in before if name.startswith(first.replace("/", "-")))
    assert before[against] >= 2, "a refusal and the promotion of its successor"
    assert after[against] == before[against] + 1, "the count of asks against it went on where it stood"


def spent(store: Store) -> dict[str, int]:
    """How many asks there were against each champion."""
    folders = {path.split("/")[2] for path in store.list(ASKS)}
    return {name: len(asks(store, name)) for name in folders}


def champion(store: Store) -> InService:
    found = read_champion(store)
    assert found is not None
    return found


def test_a_recovery_is_over_when_what_had_gathered_is_trained_and_is_told_apart() -> None:
    steps = [
        {"event": "step", "branch": False, "step": number, "time": at, "to_gradient_s": {"wire": [wait]}}
        for number, at, wait in ((1, 10.0, 2.0), (2, 12.0, 2.0), (2, 40.0, 30.0), (3, 50.0, 3.0))
    ]
    outages = outages_of([Kill("driver", "", at=13.0)], [{"event": "started", "time": 1.0}, *steps])
    assert outages == [(1.0, 10.0, 10.0), (13.0, 40.0, 50.0)]
    assert waits(steps, outages) == {"all": [2.0, 30.0, 3.0], "calm": [2.0, 3.0]}


@pytest.mark.slow
def test_what_is_written_is_real_and_the_same_everywhere() -> None:
    assert len(paragraphs()) > 10_000 and paragraphs()[0] == paragraphs()[0].strip()
    assert RUN in RECIPE
