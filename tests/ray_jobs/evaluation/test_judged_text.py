"""Do fresh documents gather one by one behind the champion, and is old text capped slice by slice?"""

import math
from pathlib import Path

import pyarrow.compute as pc
import pytest

from data_ops.documents.frontier import Frontier
from data_ops.documents.place import Documents, Place
from data_ops.lake.lake import Lake
from data_ops.rounds.manifest import Manifest
from ray_jobs.config.blocks import EvaluateConfig, GateConfig
from ray_jobs.evaluation.held_out import steering
from ray_jobs.evaluation.judged_text import arrivals_a_day, given_until, judged_text
from tests.support.checkpoints import commit_at
from tests.support.lakes import add_window, make_documents, make_lake

YEAR = EvaluateConfig(period="year", documents_per_slice=5)


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Lake:
    lake: Lake = make_lake(tmp_path_factory.mktemp("lake"))
    for number in range(3):
        add_window(
            lake, make_documents(number, ["kept", "held_out"] * 30, 60 * number, source=("news", "docs")[number % 2])
        )
    return lake


@pytest.mark.parametrize("given", [Place(-1, 0), Place(0, 0), Place(1, 0), Place(1, 21), Place(1, 22), Place(3, 0)])
def test_what_arrived_behind_the_last_document_the_champion_was_given_is_fresh(lake: Lake, given: Place) -> None:
    text = judged_text(lake, 2, Frontier(given), YEAR, GateConfig())
    places = [Place(window, position) for window in range(3) for position in range(1, 60, 2)]
    assert sum(text["fresh"].to_pylist()) == sum(place >= given for place in places)
    assert text.num_rows == 90 and text["id"].to_pylist() == sorted(text["id"].to_pylist())
    assert set(text["day"].to_pylist()) >= {"news/2024-01-02", "docs/2024-03-02"}


def test_old_text_is_capped_by_slice_and_a_smaller_cap_keeps_a_part_of_the_same(lake: Lake) -> None:
    sizes = {}
    for most in (20, 40):
        text = judged_text(lake, 2, Frontier(Place(3, 0)), YEAR, GateConfig(old_documents=most))
        sizes[most] = set(text["id"].to_pylist())
        counts = dict(zip(*(pc.value_counts(text["slice"]).field(n).to_pylist() for n in (0, 1)), strict=True))
        assert counts == {"news/2024": min(most, 60), "docs/2024": min(most, 30)}
    assert sizes[20] < sizes[40]


def test_what_steers_is_not_judged_by(lake: Lake) -> None:
    evaluate = YEAR.model_copy(update={"steer": 0.4})
    chosen = steering(lake, 2, evaluate.model_copy(update={"documents_per_slice": 1000}))
    assert chosen is not None
    text, every = (judged_text(lake, 2, Frontier(Place(1, 0)), one, GateConfig()) for one in (evaluate, YEAR))
    assert set(text["id"].to_pylist()) == set(every["id"].to_pylist()) - set(chosen.to_pylist())
    assert 0 < text.num_rows < every.num_rows


def test_fresh_text_is_capped_as_a_whole(lake: Lake) -> None:
    text = judged_text(lake, 2, Frontier(Place(1, 0)), YEAR, GateConfig(fresh_documents=32))
    assert sum(text["fresh"].to_pylist()) == 32


def test_a_checkpoint_without_a_recorded_round_was_given_nothing(lake: Lake) -> None:
    assert given_until(lake, None) == given_until(lake, commit_at("news", 3, 0, 3)) == Frontier(Place(-1, 0))


@pytest.mark.parametrize("done", [0, 3])
def test_a_candidate_was_given_what_its_main_line_was_given_when_it_left(tmp_path: Path, done: int) -> None:
    lake: Lake = make_lake(tmp_path)
    none = Documents.empty()
    branch = Manifest(0, Place(2, 7), Place(2, 7), 0, done, 1, 8, "branch", none, none, none)
    lake.add_round("news@00000008", 0, branch.to_row())
    assert given_until(lake, commit_at("news@00000008", 8 + done, 0, done)) == Frontier(Place(2, 7))


def test_the_rate_of_arrivals_is_that_of_the_last_windows(lake: Lake) -> None:
    assert arrivals_a_day(lake, 2) == 0.0, "there is no window before the first"
    assert math.isfinite(arrivals_a_day(lake, -1))
