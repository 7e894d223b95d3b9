"""Are tokens chosen as asked, and the same for the same seed?"""

from collections import Counter

import pytest
import torch

from models.kinds.transformer import Transformer, initialise
from models.measures.generation import ReadsOn, choose_token, generate
from models.sampling import Sampling
from tests.support.rows import SWITCHED, VOCAB

pytestmark = pytest.mark.slow

LOGITS = torch.log(torch.tensor([0.1, 0.5, 0.05, 0.3, 0.05]))


def drawn(**how: float) -> Counter[int]:
    return Counter(choose_token(LOGITS, Sampling(**how), position) for position in range(4000))  # type: ignore[arg-type]


def test_tokens_are_drawn_as_often_as_the_model_says() -> None:
    counts = drawn(temperature=1, top_p=1)
    for token, share in enumerate((0.1, 0.5, 0.05, 0.3, 0.05)):
        assert counts[token] / 4000 == pytest.approx(share, abs=0.03)


def test_unlikely_tokens_are_left_out_by_share_and_by_number() -> None:
    assert set(drawn(temperature=1, top_p=0.8)) == {1, 3}
    assert set(drawn(temperature=1, top_p=0.81)) == {0, 1, 3}
    assert set(drawn(temperature=1, top_p=1, top_k=1)) == {1}
    assert set(drawn(temperature=0)) == {1}
    assert drawn(temperature=0.2, top_p=1)[1] > 3600


def test_a_seed_decides_every_draw() -> None:
    assert drawn(seed=1) == drawn(seed=1)
    assert drawn(seed=1) != drawn(seed=2)


@pytest.mark.parametrize("config", SWITCHED[:2])
@torch.no_grad()
def test_the_likeliest_tokens_are_those_of_the_uncached_model(config: object) -> None:
    model = Transformer(config, VOCAB)  # type: ignore[arg-type]
    initialise(model, 3)
    assert isinstance(model, ReadsOn)
    said = list(generate(model, [1, 2, 3], 12, (), Sampling(temperature=0), model.head.weight))
    tokens = [1, 2, 3]
    for _ in range(12):
        tokens.append(int(model.head.logits(model(torch.tensor([tokens])))[0, -1, :VOCAB].argmax()))
    assert said == tokens[3:]
    assert (
        list(generate(model, [1, 2, 3], 12, {said[4]}, Sampling(temperature=0), model.head.weight))
        == said[: said.index(said[4])]
    )
