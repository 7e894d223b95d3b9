"""Do drafts change how fast a text goes on, and nothing else?"""

import pytest
import torch

from models.config import ModelConfig
from models.kinds.cache import Cache
from models.kinds.multi_token.transformer import MultiTokenTransformer
from models.kinds.transformer import initialise
from models.measures.generation import generate
from models.measures.speculation import Drafts, exact_blocks, speculate
from models.multi_token import MultiTokenConfig
from models.sampling import Sampling
from tests.support.rows import SWITCHED, VOCAB

GREEDY = Sampling(temperature=0)
TEXT = torch.arange(600) * 7 % 13 + torch.arange(600) // 3 % 5  # a text that is learnt within a few steps


def trained(config: ModelConfig, steps: int) -> MultiTokenTransformer:
    """A model with heads that has seen a few rows of a text."""
    heads = MultiTokenConfig(tokens=4)
    model = MultiTokenTransformer(config.model_copy(update={"mtp": heads}), VOCAB)
    initialise(model, 3)
    optimizer = torch.optim.AdamW(model.parameters(), 1e-2, fused=True)
    for step in range(steps):
        rows = torch.stack([TEXT[at : at + 25] for at in range(step, step + 32, 4)])
        optimizer.zero_grad()
        (model(rows[:, :-1], None, rows[:, 1:]) / rows[:, 1:].numel()).backward()
        optimizer.step()
    return model


@pytest.mark.slow
@pytest.mark.parametrize("config", SWITCHED[::2])
def test_tokens_are_those_of_greedy_decoding_in_fewer_forward_passes(config: ModelConfig) -> None:
    model = trained(config, 40)
    like, given = model.head.weight, torch.Generator().manual_seed(1)
    assert isinstance(model, Drafts) and exact_blocks(model, like)
    forwards = tokens = 0
    for number in range(12):
        length, start = int(torch.randint(1, 9, (), generator=given)), int(torch.randint(0, 500, (), generator=given))
        prompt = TEXT[start : start + length].tolist() if number % 2 else [*range(number, number + length)]
        plain = list(generate(model, prompt, 14, (), GREEDY, like))
        going = list(speculate(model, prompt, 14, (), like))
        assert [token for some in going for token in some] == plain
        assert [token for some in speculate(model, prompt, 14, (), like, drafts=False) for token in some] == plain
        assert all(1 <= len(some) <= 4 for some in going)
        forwards, tokens = forwards + len(going), tokens + len(plain)
    assert forwards < 0.9 * tokens


def test_a_model_that_learnt_nothing_says_the_same_with_drafts() -> None:
    model = trained(SWITCHED[0], 0)
    like = model.head.weight
    plain = list(generate(model, [1, 2, 3], 20, (), GREEDY, like))
    assert [token for some in speculate(model, [1, 2, 3], 20, (), like) for token in some] == plain
    end = plain[9]
    stopped = [token for some in speculate(model, [1, 2, 3], 20, {end}, like) for token in some]
    assert stopped == plain[: plain.index(end)] == list(generate(model, [1, 2, 3], 20, {end}, GREEDY, like))
    assert list(speculate(model, [1, 2, 3], 0, (), like)) == []


class Skewed(MultiTokenTransformer):
    """A model whose second place in a block is one bit off."""

    def read_block(self, inputs_1L: torch.Tensor, cache: Cache) -> tuple[torch.Tensor, torch.Tensor]:
        """Read a block as others do, but for that place."""
        logits_LV, z_1LD = super().read_block(inputs_1L, cache)
        logits_LV[1] = torch.nextafter(logits_LV[1], torch.tensor(torch.inf))
        return logits_LV, z_1LD


def test_where_a_place_in_a_block_changes_a_bit_it_is_seen() -> None:
    model = trained(SWITCHED[0], 0)
    assert exact_blocks(model, model.head.weight)
    skewed = Skewed(model.config, VOCAB)
    initialise(skewed, 3)
    assert not exact_blocks(skewed, skewed.head.weight)


@torch.no_grad()
def test_what_a_block_says_is_what_the_whole_text_says() -> None:
    for config in SWITCHED:
        model = trained(config, 0)
        whole = model.head.logits(model(TEXT[None, :20]))[0, :, :VOCAB]
        cache = Cache(1, 24, model.config, model.head.weight)
        logits, _ = model.read_prompt(TEXT[None, :7], cache)
        torch.testing.assert_close(logits, whole[6], rtol=1e-5, atol=1e-5)
        block, _ = model.read_block(TEXT[None, 7:11], cache)
        torch.testing.assert_close(block, whole[7:11], rtol=1e-5, atol=1e-5)
        cache.length += 2  # of four, two are kept
        again, _ = model.read_block(TEXT[None, 9:13], cache)
        torch.testing.assert_close(again, whole[9:13], rtol=1e-5, atol=1e-5)
