"""Is a run judged when it is time, as was decided, and does the main line go on as if nothing had been?"""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.runtime.actors import Local
from cluster.storage.store import Store
from models.engine.engine import join
from ray_jobs.checkpoints import manifest as commits
from ray_jobs.checkpoints.position import Judgement, Position, state_from_json, state_to_json
from ray_jobs.config.blocks import Interval
from ray_jobs.config.schema import Config
from ray_jobs.training.actors.notice import RoundNotice
from ray_jobs.training.directive import Directive
from ray_jobs.training.events import BranchBegun, CandidateMade
from ray_jobs.training.worker.judgement import Judge, decided, is_due
from ray_jobs.training.worker.saver import NotWrittenError
from ray_jobs.training.worker.skips import LastingSkipsError, Skips
from tests.support.checkpoints import commit_at, state_at

INTERVALS = st.sampled_from([Interval(3, "rounds"), Interval(5000, "tokens"), Interval(60, "seconds")])
MAIN, BRANCH = Position(round=2, step=8, tokens=8192), "news@00000008"


def config_of(**judge: Any) -> Config:
    settings = {"engine": {"batch_tokens": 1024}, "model": {"row_tokens": 64}, "name": "news"}
    return Config.model_validate({"judge": judge, **settings})


@given(every=INTERVALS, passed=st.tuples(st.integers(0, 9), st.integers(1, 9999), st.integers(0, 999)))
def test_whoever_is_started_again_where_it_was_due_finds_it_due(every: Interval, passed: tuple[int, int, int]) -> None:
    last, (rounds, tokens, seconds) = Judgement(5, 2, 1000, 100.0), passed
    here = Position(2 + rounds, 0, 9, 1000 + tokens)
    due = is_due(every, last, here, 100.0 + seconds)
    assert due == ({"rounds": rounds, "tokens": tokens, "seconds": seconds}[every.unit] >= every.amount)
    assert not due or is_due(every, last, here, 100.0 + seconds + 7), "time passes while a run is down"


def test_nothing_is_judged_twice_and_nothing_without_an_interval() -> None:
    here = Position(9, 0, 9, 1000)
    assert not is_due(Interval(1, "seconds"), Judgement(9, 2, 1000), here, 1e9)
    assert not is_due(None, Judgement(), here, 1e9)


def test_a_run_that_is_judged_as_it_goes_decays_over_what_came_since() -> None:
    last, here = Judgement(10, 1, 1_000_000), Position(2, 0, 20, 1_100_000)
    going = config_of(every="10m", candidate="best_of")
    assert decided(going, last, here, 5.0) == Judgement(20, 2, 1_100_000, 5.0, 10_000, averages=True)
    assert decided(going, Judgement(19, 1, 1_099_000), here, 5.0).decay_tokens == 1024, "at least a step"
    averaged = decided(config_of(every="10m", candidate="average"), last, here, 5.0)
    assert (averaged.decay_tokens, averaged.averages) == (0, True)


def test_a_run_that_is_judged_at_its_end_decays_over_a_share_of_all() -> None:
    assert decided(config_of(), Judgement(10, 1, 1_000_000), Position(2, 0, 20, 1_100_000), 5.0).decay_tokens == 110_000
    assert decided(config_of(), Judgement(), Position(1, 0, 5, 5120), 5.0).decay_tokens == 0, "too little for a step"


def test_a_judgement_stands_in_the_checkpoint_and_older_ones_have_none() -> None:
    judged, plain = Judgement(7, 2, 300, 12.5, 1024, averages=True), state_to_json(state_at(7))
    assert state_from_json({**plain, "judged": msgspec.to_builtins(judged)}).judged == judged
    assert state_from_json(plain).judged is None


class Average:
    """The average of a rank, which is only ever put in place and taken out again."""

    def __init__(self) -> None:
        self.inside = False

    def in_place(self) -> "Average":
        return self

    def __enter__(self) -> None:
        self.inside = True

    def __exit__(self, *_: object) -> None:
        self.inside = False


class Rank:
    """A rank whose steps, commits and checkpoints are only noted."""

    def __init__(self, store: Store, config: Config, steps: int = 3) -> None:
        self.store, self.config, self.rank, self.average = store, config, 0, Average()
        self.position, self.judged = MAIN, Judgement()
        self.did: list[str] = []
        self.told: list[Any] = []
        self.ends: Directive | Exception = Directive.GO
        self.full = False
        self.committed: dict[str, Judgement] = {}
        feed = SimpleNamespace(branch=lambda step, number, tokens: RoundNotice(steps if tokens else 0, last_window=4))
        self.job = SimpleNamespace(feed=Local(feed), base=None)
        self.line = SimpleNamespace(saver=self.new_saver("news", 60.0, 0), skips=Skips(3), course=None)
        self.main = self.line

    def new_saver(self, run: str, every_seconds: float, saved_step: int) -> Any:
        def finish(position: Position) -> None:
            if self.full:
                raise NotWrittenError("no space")
            self.did.append(f"commit {run}/{position.step}{' average' if self.average.inside else ''}")
            if run != "news":
                commits.publish(self.store, commit_at(run, position.step, 0, position.step_in_round))
            elif run not in self.committed:
                self.committed[run] = self.judged

        return SimpleNamespace(finish=finish, buffers=f"of {run}")

    def train_round(self, number: int, steps: int) -> Directive:
        if isinstance(self.ends, Exception):
            raise self.ends
        self.did.append(f"decay {steps}")
        self.position = msgspec.structs.replace(self.position, step=self.position.step + steps, step_in_round=steps)
        return self.ends

    def evaluate(self, last_window: int) -> None:
        self.did.append(f"score {last_window}")

    def tell(self, event: Any) -> None:
        self.told.append(event)

    def begin(self) -> None:
        self.did.append("begin")
        self.position, self.line, self.judged = MAIN, self.main, self.committed["news"]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    join(1)  # a group of one, in which everybody agrees
    return Store.open(str(tmp_path))


def judge(rank: Any, **more: Any) -> Directive:
    return Judge(rank).judge(**{"goes_on": True, **more})


def test_candidates_leave_a_checkpoint_that_says_so_and_the_main_line_goes_on_from_it(store: Store) -> None:
    rank = Rank(store, config_of(every="1 rounds", candidate="best_of"))
    assert judge(rank) is Directive.GO
    average = ["score 4", f"commit {BRANCH}/8 average"]
    assert rank.did == ["commit news/8", *average, "decay 3", "score 4", f"commit {BRANCH}/11", "begin"]
    assert (rank.position, rank.line, rank.judged.step) == (MAIN, rank.main, 8)
    assert rank.line.saver.buffers == "of news"
    assert [type(event) for event in rank.told] == [BranchBegun, CandidateMade]
    assert rank.committed["news"].step == 8


def test_a_start_makes_what_a_kill_left_out_as_it_was_decided(store: Store) -> None:
    rank = Rank(store, config_of())  # other settings than when it was decided
    rank.judged = rank.committed["news"] = Judgement(8, 2, 8192, 1.0, 3072, averages=True)
    assert Judge(rank).was_cut_short  # type: ignore[arg-type]
    commits.publish(store, commit_at(BRANCH, 8))
    assert judge(rank) is Directive.GO
    assert [did for did in rank.did if "average" in did] == [], "the average is there"
    assert f"commit {BRANCH}/11" in rank.did
    rank.did.clear()
    rank.told.clear()
    assert judge(rank) is Directive.GO
    assert rank.did == ["commit news/8"] and rank.told == [], "all is there, and nothing is loaded again"


def test_a_full_disk_under_a_candidate_costs_the_candidate_alone(store: Store) -> None:
    rank = Rank(store, config_of(every="1 rounds", candidate="decay"))
    rank.ends = NotWrittenError("no space")
    assert judge(rank) is Directive.GO and rank.did[-1] == "begin"
    assert "there is no candidate at step 8: no space" in rank.told[-1].text


def test_a_run_whose_only_checkpoint_is_lost_under_a_candidate_does_not_go_on_with_its_weights(store: Store) -> None:
    rank = Rank(store, config_of(every="1 rounds", candidate="decay"))
    rank.begin = lambda: setattr(rank, "position", Position())  # where nothing whole is left
    with pytest.raises(OSError, match="the checkpoint of step 8 is damaged and none before it is left"):
        judge(rank)


def test_an_average_leaves_the_weights_as_they_are_and_nothing_is_loaded_again(store: Store) -> None:
    rank = Rank(store, config_of(every="1 rounds", candidate="average"))
    assert judge(rank) is Directive.GO
    assert rank.did == ["commit news/8", "score 4", f"commit {BRANCH}/8 average"]
    assert (rank.position, rank.line) == (MAIN, rank.main)


def test_a_step_that_was_committed_before_it_was_due_is_not_judged_for_ever(store: Store) -> None:
    rank = Rank(store, config_of(every="1 rounds"))
    rank.committed["news"] = Judgement()
    assert Judge(rank).is_due  # type: ignore[arg-type]
    judge(rank)
    assert not Judge(rank).is_due and rank.judged.step == 8  # type: ignore[arg-type]


@pytest.mark.parametrize("directive", [Directive.MOVE, Directive.STOP])
def test_a_branch_that_is_ended_leaves_the_main_line_where_it_was_and_no_candidate(
    store: Store, directive: Directive
) -> None:
    rank = Rank(store, config_of(every="1 rounds"))
    rank.ends = directive
    assert judge(rank) is directive
    assert (rank.position, rank.line) == (MAIN, rank.main)
    assert commits.commits(store, BRANCH) == [] and not any(isinstance(e, CandidateMade) for e in rank.told)


def test_a_candidate_that_cannot_be_trained_ends_no_run_that_goes_on(store: Store) -> None:
    rank = Rank(store, config_of(every="1 rounds"))
    rank.ends = LastingSkipsError("3 steps in a row were skipped")
    assert judge(rank) is Directive.GO
    assert rank.did[-1] == "begin" and "there is no candidate at step 8: 3 steps" in rank.told[-1].text
    with pytest.raises(LastingSkipsError):
        judge(rank, goes_on=False)


def test_a_full_disk_postpones_a_judgement_by_its_interval(store: Store) -> None:
    rank = Rank(store, config_of(every="1 rounds"))
    rank.full = True
    assert judge(rank) is Directive.GO
    assert "nothing is judged at step 8" in rank.told[-1].text
    assert not Judge(rank).is_due and rank.judged.step is None  # type: ignore[arg-type]
    assert "begin" not in rank.did


def test_during_a_row_of_skips_nothing_is_judged(store: Store) -> None:
    rank = Rank(store, config_of(every="1 rounds"))
    rank.line.skips.in_a_row = 1
    assert not Judge(rank).is_due  # type: ignore[arg-type]
