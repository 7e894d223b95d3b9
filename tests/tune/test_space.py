"""Are points drawn from the space that was written, and mistakes in it told in a sentence?"""

import math
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from tune.config import SweepConfig
from tune.space import TUNABLE, Dimension, couple, nested, point_key, read_space

MIXED = {
    "engine.batch_tokens": {"distribution": "q_log_uniform_values", "min": 1024, "max": 65536, "q": 256},
    "engine.micro_batch_rows": {"min": 1, "max": 8},
    "optim.lr": {"distribution": "log_uniform_values", "min": 1e-4, "max": 1e-2},
    "optim.schedule.kind": ["constant", "cosine", "wsd"],
    "round.replay_share": {"min": 0.0, "max": 0.5},
}


def test_a_grid_holds_every_combination_once_and_a_smaller_one_is_a_part_of_it():
    space = read_space({"optim.lr": [1e-3, 3e-3], "engine.batch_tokens": [1024, 2048, 4096]})
    whole = space.grid(100, seed=1)
    assert len({point_key(p) for p in whole}) == len(whole) == space.size == 6
    part = space.grid(4, seed=1)
    assert len(part) == 4
    assert all(p in whole for p in part)
    assert part == whole[:4] != space.grid(4, seed=2)
    assert whole == space.grid(100, seed=1)


@given(st.integers(0, 2**63 - 1), st.integers(0, 1000))
def test_a_random_point_lies_within_its_bounds_and_is_the_same_again(seed, number):
    space = read_space(MIXED)
    point = space.draw(seed, number)
    assert point == space.draw(seed, number)
    assert point["engine.batch_tokens"] % 256 == 0
    assert 1024 <= point["engine.batch_tokens"] <= 65536
    assert isinstance(point["engine.batch_tokens"], int)
    assert point["engine.micro_batch_rows"] in range(1, 9)
    assert 1e-4 <= point["optim.lr"] <= 1e-2
    assert 0 <= point["round.replay_share"] <= 0.5
    assert point["optim.schedule.kind"] in MIXED["optim.schedule.kind"]


@given(st.integers(1, 9), st.integers(0, 20), st.integers(1, 40), st.sampled_from([0.1, 0.05, 0.3, 1e-3, 7.0]))
def test_a_multiple_may_be_any_from_the_least_to_the_largest(tenths, first, count, step):
    step *= tenths
    low, high = float(f"{first * step:.6g}"), float(f"{(first + count) * step:.6g}")
    space = read_space({"optim.weight_decay": {"distribution": "q_uniform", "min": low, "max": high, "q": step}})
    (dimension,) = space.dimensions
    ends = [dimension.at(0.0), dimension.at(1 - 2**-53)]
    assert ends == pytest.approx([low, high], rel=1e-5)
    assert space.corners()[1]["optim.weight_decay"] == ends[1]
    assert all(low <= dimension.at(n / 64) <= high for n in range(64))


def test_the_largest_multiple_below_the_maximum_is_the_last():
    given = {"distribution": "q_uniform", "min": 0.05, "max": 0.37, "q": 0.1}
    (dimension,) = read_space({"optim.weight_decay": given}).dimensions
    assert sorted({dimension.at(n / 64) for n in range(64)}) == [0.1, 0.2, 0.3]
    (whole,) = read_space({"engine.batch_tokens": {**given, "min": 100, "max": 1000, "q": 256}}).dimensions
    assert sorted({whole.at(n / 64) for n in range(64)}) == [256, 512, 768]


def test_numbers_that_yaml_reads_as_texts_are_numbers():
    from ray_jobs.config.reading import read_config

    found = read_config(
        [], ["sweep.space={optim.lr: [1e-3, 3e-3], optim.eps: {min: 1e-9, max: 1e-8}}"]
    ).sweep.dimensions
    assert [d.values for d in found.dimensions] == [None, (0.001, 0.003)]
    assert (found.dimensions[0].low, found.dimensions[0].high) == (1e-9, 1e-8)
    texts = read_space({"optim.schedule.kind": ["wsd", "cosine"], "reservoir.half_life": ["30d", "1e6"]})
    assert [d.values for d in texts.dimensions] == [("wsd", "cosine"), ("30d", 1e6)]
    with pytest.raises(ValueError, match="holds a value twice"):
        read_space({"optim.lr": [0.001, "1e-3"]})


def test_a_part_of_a_huge_grid_is_drawn_without_building_it():
    space = read_space({f"model.{name}": list(range(64)) for name in ("a", "b", "c", "d")})
    began = time.process_time()
    drawn = space.grid(100, seed=3)
    assert time.process_time() - began < 1, "16.7 million points"
    assert len({point_key(point) for point in drawn}) == 100
    assert {len({point[d.path] for point in drawn}) > 40 for d in space.dimensions} == {True}


def test_logarithmic_values_fall_evenly_on_every_decade():
    space = read_space({"optim.lr": {"distribution": "log_uniform_values", "min": 1e-4, "max": 1e-2}})
    low = sum(p["optim.lr"] < 1e-3 for p in space.random(2000, seed=3))
    assert abs(low - 1000) < 5 * math.sqrt(500)


def test_random_points_are_all_different_until_the_space_is_used_up():
    space = read_space({"optim.lr": [1, 2, 3], "optim.weight_decay": [0, 0.1]})
    assert len({point_key(p) for p in space.random(6, seed=0)}) == 6
    assert len(space.random(50, seed=0)) == 6


@given(st.integers(0, 10_000))
def test_what_a_sampler_proposes_is_encoded_and_decoded_without_loss(number):
    space = read_space(MIXED)
    point = space.draw(0, number)
    again = space.decode(space.encode(point))
    for path, value in point.items():
        assert again[path] == (value if not isinstance(value, float) else pytest.approx(value, rel=1e-5, abs=1e-6))


def test_corners_hold_every_value_and_both_ends():
    corners = read_space(MIXED).corners()
    assert {c["optim.schedule.kind"] for c in corners} == {"constant", "cosine", "wsd"}
    assert {c["optim.lr"] for c in corners} == {1e-4, 1e-2}
    assert {c["engine.batch_tokens"] for c in corners} == {1024, 65536}


def test_the_rate_grows_with_the_root_of_the_batch():
    assert couple({"engine.batch_tokens": 16384, "optim.lr": 2e-3}, 1024, 9.0)["optim.lr"] == 8e-3
    assert couple({"engine.batch_tokens": 256}, 1024, 1e-3)["optim.lr"] == 5e-4
    assert couple({"optim.weight_decay": 0.1}, 1024, 1e-3) == {"optim.weight_decay": 0.1}


def test_keys_may_be_written_nested_as_on_a_command_line():
    assert read_space({"optim": {"lr": [1, 2], "schedule": {"kind": ["wsd"]}}}) == read_space(
        {"optim.lr": [1, 2], "optim.schedule.kind": ["wsd"]}
    )
    assert nested({"optim.schedule.kind": "wsd", "optim.lr": 1}) == {"optim": {"schedule": {"kind": "wsd"}, "lr": 1}}


@pytest.mark.parametrize(
    ("space", "said"),
    [
        ({"optim.lr": []}, "sweep.space.optim.lr is an empty list; give at least one value"),
        ({"optim.lr": 0.1}, "sweep.space.optim.lr=0.1 is neither a list nor a distribution; write [0.1]"),
        ({"optim.lr": [1, 1]}, "holds a value twice"),
        ({"store": ["a"]}, "sweep.space.store cannot differ between trials; a space may hold engine.batch_tokens"),
        ({"model.row_tokens": [64]}, "rows are what every trial has in common"),
        ({"optim.lr": {"min": 1, "max": 0}}, "sweep.space.optim.lr goes from 1 to 0; min must be below max"),
        ({"optim.lr": {"min": 0, "max": 1, "distribution": "log_uniform_values"}}, "min=0 has no logarithm"),
        ({"optim.lr": {"min": 0, "max": 1, "distribution": "loguniform"}}, "did you mean log_uniform_values?"),
        ({"optim.lr": {"min": "a", "max": 1}}, "sweep.space.optim.lr.min='a' is no number"),
        ({"optim.lr": {"min": 1, "max": 2, "distribution": "q_uniform"}}, "q goes with q_uniform"),
        ({"optim.lr": {"min": 1, "max": 2, "distribution": "q_uniform", "q": 5}}, "q=5 has no multiple from 1 to 2"),
        ({"optim.lr": {"min": 1, "max": 2, "sigma": 5}}, "sweep.space.optim.lr.sigma is unknown"),
    ],
)
def test_a_mistake_in_a_space_is_told_with_the_key_and_the_way_out(space, said):
    with pytest.raises(ValidationError) as error:
        SweepConfig(space=space) and SweepConfig(space=space).dimensions
    assert said in str(error.value)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"scheduler": "grid"}, "set sweep.search=grid and sweep.scheduler=none"),
        ({"search": "grid", "space": {"optim.lr": {"min": 0.1, "max": 1}}}, "needs a list of values for optim.lr"),
        ({"scheduler": "pbt", "trials": 2}, "too small a population"),
        ({"scheduler": "pbt", "marks": 1, "trials": 8}, "no moment to exchange weights"),
    ],
)
def test_settings_that_do_not_go_together_are_refused(settings, said):
    with pytest.raises(ValidationError) as error:
        SweepConfig(**settings)
    assert said in str(error.value)


@given(st.integers(1, 6), st.integers(2, 5), st.integers(0, 10_000), st.sampled_from(["asha", "median"]))
def test_marks_are_whole_rows_up_to_the_budget(marks, reduction, extra, scheduler):
    tokens = 8 * reduction ** (marks - 1) * marks + extra
    found = SweepConfig(tokens=tokens, marks=marks, reduction=reduction, scheduler=scheduler).mark_tokens(8)
    assert len(found) == marks
    assert list(found) == sorted(set(found))
    assert all(mark % 8 == 0 for mark in found)
    assert tokens / 2 < found[-1] <= tokens


def test_too_few_tokens_for_the_marks_are_told():
    with pytest.raises(ValueError, match=r"sweep.tokens=100 leaves no row of 64 .* use sweep.tokens=1024 or more"):
        SweepConfig(tokens=100, marks=3, reduction=4).mark_tokens(64)


def test_every_tunable_key_is_a_key_of_the_configuration():
    from ray_jobs.config.schema import Config

    known = Config.model_json_schema()["properties"]
    assert all(path.split(".")[0] in known for path in TUNABLE)


def test_a_whole_number_stays_one():
    assert Dimension("x", low=1, high=8, is_int=True).at(0.999) == 8
    assert Dimension("x", low=1, high=8, is_int=True).at(0.0) == 1
