"""Has a text the same answer alone and among others, to the bit?"""

import random

import pytest
import torch
from torch import Tensor

from models.config import ModelConfig
from models.kinds.cache import Cache
from models.kinds.transformer import Transformer, initialise
from models.measures.decoding import PIECE, BatchDecoder, GoingText, ReadsRows, exact_rows
from models.measures.generation import generate
from models.sampling import Sampling
from tests.support.rows import SWITCHED, VOCAB

pytestmark = pytest.mark.slow
GREEDY = Sampling(temperature=0)


def model_of(config: ModelConfig, dtype: torch.dtype = torch.float32) -> Transformer:
    model = Transformer(config, VOCAB)
    initialise(model, 3)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(4 if parameter.ndim == 2 else 1)  # likelihoods that differ
    return model.to(dtype)


def text(prompt: list[int], most: int = 12, how: Sampling = GREEDY, **more: object) -> GoingText:
    return GoingText(prompt, most, frozenset(), how, likeliest=2, **more)  # type: ignore[arg-type]


def go_on(decoder: BatchDecoder, texts: list[GoingText], arrivals: random.Random | None = None) -> None:
    """Let all of them go on, as they arrive by and by, in any places."""
    waiting, going = list(texts), list[GoingText]()
    while waiting or going:
        while waiting and len(going) < decoder.rows and (arrivals is None or arrivals.random() < 0.5):
            going.insert(arrivals.randint(0, len(going)) if arrivals else len(going), waiting.pop(0))
        for one in [one for one in going if not one.is_read][:1]:
            decoder.read(one)
        going = [one for one in going if one.ended is None]
        if read := [one for one in going if one.is_read]:
            decoder.step(read)
        going = [one for one in going if one.ended is None]


@pytest.mark.parametrize("dtype", [torch.float32, pytest.param(torch.bfloat16, marks=pytest.mark.long)])
@pytest.mark.parametrize("config", SWITCHED)
def test_a_text_has_the_same_tokens_and_likelihoods_alone_and_among_others(
    config: ModelConfig, dtype: torch.dtype
) -> None:
    decoder = BatchDecoder(model_of(config, dtype), 4, torch.empty(0, dtype=dtype))
    assert decoder.rows == 4
    draw = random.Random(5)
    asked = [
        ([draw.randrange(VOCAB) for _ in range(draw.randint(1, 20))], draw.randint(1, 12), Sampling(seed=n % 3))
        for n in range(12)
    ]
    asked = [(prompt, most, GREEDY if n % 2 else how) for n, (prompt, most, how) in enumerate(asked)]
    alone = [text(*each) for each in asked]
    for each in alone:
        go_on(decoder, [each])
    together = [text(*each) for each in asked]
    go_on(decoder, together, draw)
    assert [one.tokens for one in together] == [one.tokens for one in alone], "likelihoods are compared to the bit"
    assert {len(one.tokens) for one in alone} > {1}


@pytest.mark.parametrize("config", SWITCHED)
def test_greedy_tokens_are_those_of_reading_on_alone(config: ModelConfig) -> None:
    model = model_of(config)
    decoder = BatchDecoder(model, 4, model.head.weight)
    one = text([1, 2, 3, 4, 5, 6, 7])
    go_on(decoder, [one])
    expected = list(generate(model, one.prompt, 12, (), GREEDY, model.head.weight))
    assert [token.id for token in one.tokens] == expected


@torch.no_grad()
def test_likelihoods_are_those_of_the_uncached_model_and_the_prompts_own_are_told_if_asked() -> None:
    model = model_of(SWITCHED[4])
    prompt = [n % VOCAB for n in range(PIECE + 30)]
    one = text(prompt, most=3, tells_prompt=True)
    go_on(BatchDecoder(model, 2, model.head.weight), [one])
    ids = prompt + [token.id for token in one.tokens]
    logprobs = model.head.logits(model(torch.tensor([ids])))[0, :, :VOCAB].log_softmax(1)
    wanted = [float(logprobs[place, token]) for place, token in enumerate(ids[1:])]
    given = [token.logprob for token in one.prompt_tokens + one.tokens]
    assert given == pytest.approx(wanted, abs=1e-4)
    best = logprobs[len(prompt) - 1].topk(2)
    assert [token for token, _ in one.tokens[0].likeliest] == best.indices.tolist()
    assert one.ended == "length"


def test_a_stop_token_ends_a_text_and_is_not_told() -> None:
    model = model_of(SWITCHED[0])
    whole = text([4, 5])
    decoder = BatchDecoder(model, 2, model.head.weight)
    go_on(decoder, [whole])
    last = whole.tokens[5].id
    cut = GoingText([4, 5], 12, frozenset({last}), GREEDY)
    go_on(decoder, [cut])
    ids = [token.id for token in whole.tokens]
    assert ([token.id for token in cut.tokens], cut.ended) == (ids[: ids.index(last)], "stop")
    assert cut.tokens[0].logprob is None


class Shaky:
    """A model whose rows differ by a bit at one place of a batch, as a kernel may that treats the last row apart."""

    def __init__(self, model: Transformer) -> None:
        self.model, self.config, self.vocab_size = model, model.config, model.vocab_size

    def read_on(self, inputs_BL: Tensor, cache: Cache, each: bool = False) -> Tensor:
        return self.model.read_on(inputs_BL, cache, each)

    def read_rows(self, inputs_B: Tensor, caches: list[Cache]) -> Tensor:
        logits = self.model.read_rows(inputs_B, caches)
        logits[-1] = torch.nextafter(logits[-1], torch.tensor(9.0))
        return logits


def test_where_a_place_of_the_batch_changes_a_bit_texts_take_turns() -> None:
    model = model_of(SWITCHED[0])
    assert exact_rows(model, 3, model.head.weight)
    shaky = Shaky(model)
    assert isinstance(shaky, ReadsRows)
    assert not exact_rows(shaky, 3, model.head.weight)
    assert BatchDecoder(shaky, 3, model.head.weight).rows == 1
