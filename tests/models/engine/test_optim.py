"""Is the learning rate a function of tokens alone, of the promised shape?"""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from models.config import ModelConfig, OptimConfig
from models.engine.optim import branch_lr, decay_lr, lr_at, parameter_groups
from models.kinds.transformer import Transformer
from models.schedule import DEFAULT_HORIZON

KINDS = ("constant", "cosine", "wsd", "infinite")


def optim(kind: str, **schedule: object) -> OptimConfig:
    """Make a configuration of peak 2.0 over 1000 tokens."""
    return OptimConfig.model_validate(
        {"lr": 2.0, "schedule": {"kind": kind, "tokens": 1000, "warmup": "10%", "decay": 0.2} | schedule}
    )


@given(kind=st.sampled_from(KINDS), tokens=st.integers(1, 3000), floor=st.floats(0, 1))
def test_the_rate_stays_between_floor_and_peak_after_warm_up(kind: str, tokens: int, floor: float) -> None:
    config = optim(kind, floor=floor)
    rate = lr_at(tokens, config)
    assert 0 < rate <= 2.0 or (floor == 0 and tokens >= 1000)
    if tokens >= 100:
        assert rate >= 2.0 * floor - 1e-12


@given(kind=st.sampled_from(KINDS), tokens=st.integers(1, 1999))
def test_the_course_has_no_jump(kind: str, tokens: int) -> None:
    config = optim(kind)
    step = abs(lr_at(tokens + 1, config) - lr_at(tokens, config))
    assert step <= 2.0 * (1 / 200) ** 0.5 + 1e-9  # steepest: the first token of a 1 - sqrt decay over 200


@pytest.mark.parametrize("kind", KINDS)
def test_warm_up_is_linear_and_ends_at_the_peak(kind: str) -> None:
    config = optim(kind)
    assert lr_at(1, config) == pytest.approx(0.02)
    assert lr_at(50, config) == pytest.approx(1.0)
    assert lr_at(100, config) == pytest.approx(2.0)


def test_each_kind_ends_as_promised() -> None:
    assert lr_at(550, optim("cosine", floor=0.1)) == pytest.approx(2.0 * 0.55)
    assert lr_at(1000, optim("cosine", floor=0.1)) == pytest.approx(0.2)
    assert lr_at(5000, optim("cosine", floor=0.1)) == pytest.approx(0.2)
    assert lr_at(800, optim("wsd")) == 2.0
    assert lr_at(850, optim("wsd")) == pytest.approx(1.0)
    assert lr_at(1000, optim("wsd")) == 0.0
    assert lr_at(10**9, optim("constant")) == lr_at(10**9, optim("infinite")) == 2.0


def test_a_stream_without_an_end_warms_up_over_a_share_of_the_default_horizon_or_given_tokens() -> None:
    config = OptimConfig.model_validate({"lr": 1.0, "schedule": {"warmup": "1%"}})
    assert lr_at(DEFAULT_HORIZON // 200, config) == pytest.approx(0.5)
    config = OptimConfig.model_validate({"lr": 1.0, "schedule": {"warmup_tokens": 40}})
    assert lr_at(20, config) == 0.5
    assert lr_at(1, OptimConfig.model_validate({"lr": 1.0, "schedule": {"warmup_tokens": 0}})) == 1.0


@given(start=st.integers(100, 10**6), length=st.integers(1, 10**6), floor=st.floats(0, 1))
def test_a_branch_decays_from_the_main_line_to_the_floor(start: int, length: int, floor: float) -> None:
    config = optim("infinite", floor=floor)
    assert branch_lr(start, start, length, config) == pytest.approx(2.0)
    assert branch_lr(start + length, start, length, config) == pytest.approx(2.0 * floor)
    course = [branch_lr(start + length * i // 10, start, length, config) for i in range(11)]
    assert course == sorted(course, reverse=True)


def test_decay_follows_one_minus_the_square_root() -> None:
    assert decay_lr(0.25, 1.0, 0.0) == pytest.approx(0.5)
    assert decay_lr(0.25, 1.0, 0.2) == pytest.approx(0.6)
    assert decay_lr(-1.0, 1.0, 0.0) == 1.0
    assert decay_lr(2.0, 1.0, 0.5) == 0.5


@pytest.mark.parametrize("kind", ["cosine", "wsd"])
def test_a_course_with_an_end_needs_one(kind: str) -> None:
    with pytest.raises(ValidationError, match=f"kind={kind} needs an end; set tokens, or use kind=infinite"):
        OptimConfig.model_validate({"schedule": {"kind": kind}})


@pytest.mark.parametrize(
    ("schedule", "words"),
    [
        ({"tokens": 100, "warmup_tokens": 200}, "warmup_tokens=200 is beyond tokens=100"),
        ({"kind": "wsd", "tokens": 100, "warmup": 0.6, "decay": 0.6}, "warmup=0.6 and decay=0.6 overlap"),
        ({"kind": "linear"}, "kind"),
    ],
)
def test_a_course_that_cannot_be_followed_is_refused(schedule: dict[str, object], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        OptimConfig.model_validate({"schedule": schedule})
    with pytest.raises(ValidationError, match="betas"):
        OptimConfig(betas=(0.9, 1.0))


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("decay_embeddings", [True, False])
def test_only_matrices_decay_and_every_parameter_is_in_one_group(tied: bool, decay_embeddings: bool) -> None:
    net = Transformer(ModelConfig(layers=2, width=16, heads=2, row_tokens=8, tie_embeddings=tied), 30)
    config = OptimConfig(weight_decay=0.3, decay_embeddings=decay_embeddings)
    decayed, kept = parameter_groups(net, config)
    assert (decayed["weight_decay"], kept["weight_decay"]) == (0.3, 0.0)
    members = [id(p) for group in (decayed, kept) for p in group["params"]]
    assert sorted(members) == sorted(id(p) for p in net.parameters())
    assert all(p.ndim == 2 for p in decayed["params"])
    tables = {id(net.embed.weight), id(net.head.weight)}
    assert all((id(p) in tables) <= decay_embeddings for p in decayed["params"])
    assert isinstance(decayed["params"][0], torch.nn.Parameter)
