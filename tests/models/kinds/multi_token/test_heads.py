"""Do the heads learn what they should, as if all of them ran at once, in the memory of one?"""

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from models.config import ModelConfig
from models.kinds.decoder import Decoder
from models.kinds.loss import IGNORE
from models.kinds.multi_token.heads import labels_ahead
from models.kinds.multi_token.transformer import MultiTokenTransformer
from models.kinds.transformer import Transformer, initialise
from models.multi_token import MultiTokenConfig
from tests.support.rows import CONFIG, SWITCHED, VOCAB, packed_rows

HEADS = MultiTokenConfig(tokens=4, weights=(1.0, 0.5, 0.25))


def headed(config: ModelConfig = CONFIG, heads: MultiTokenConfig = HEADS, **more: Any) -> MultiTokenTransformer:
    """Build an initialised model with heads."""
    built = MultiTokenTransformer(config.model_copy(update={"mtp": heads} | more), VOCAB)
    initialise(built, 3)
    return built


def rows(seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """Packed rows with labels, of which some are not learnt."""
    tokens, segments = packed_rows([5, 6, 14], rows=3, length=25)
    labels = torch.where(segments[:, 1:] == segments[:, :-1], tokens[:, 1:], 7)  # 7: what ends a document
    labels[torch.rand(labels.shape, generator=torch.Generator().manual_seed(seed)) < 0.2] = IGNORE
    return tokens[:, :-1], segments[:, :-1].contiguous(), labels


def naive_loss(
    model: MultiTokenTransformer, batch: tuple[Tensor, Tensor, Tensor], vocab_size: int = VOCAB
) -> tuple[Tensor, list[Tensor]]:
    """The weighted sum of all nats, in one graph, and the nats of each token ahead."""
    tokens, segments, labels = batch
    z_BLD, layout = model.trunk(tokens, segments)
    states = [model.norm(model.layers[-1](z_BLD, layout)), *(layer(z_BLD, layout) for layer in model.ahead)]
    nats = []
    for ahead, h_BLD in enumerate(states):
        wanted = torch.full_like(labels, IGNORE)
        for row in range(len(labels)):
            for at in range(labels.shape[1] - ahead):
                if segments[row, at] == segments[row, at + ahead]:
                    wanted[row, at] = labels[row, at + ahead]
        logits = F.linear(h_BLD, model.head.weight)[..., :vocab_size].float()
        nats.append(F.cross_entropy(logits.flatten(0, 1), wanted.flatten(), ignore_index=IGNORE, reduction="sum"))
    return sum(w * n for w, n in zip((1.0, *model.ahead.shares), nats, strict=True)), nats  # type: ignore[return-value]


@pytest.mark.parametrize("config", SWITCHED)
@pytest.mark.parametrize("recompute", [False, True])
def test_gradients_are_those_of_all_heads_in_one_graph(config: ModelConfig, recompute: bool) -> None:
    one, other = headed(config, recompute=recompute), headed(config)
    batch = rows()
    loss = one(*batch)
    (loss * 0.5).backward()
    expected, nats = naive_loss(other, batch)
    (expected * 0.5).backward()
    assert loss.item() == pytest.approx(nats[0].item(), rel=1e-6), "what is reported is the next token's alone"
    torch.testing.assert_close(one.take_ahead()[:, 0], torch.stack(nats[1:]).double(), rtol=1e-6, atol=0)
    found, wanted = ([p.grad for p in model.parameters() if p.grad is not None] for model in (one, other))
    largest = max(float(gradient.abs().max()) for gradient in wanted)  # those of key biases cancel to almost nothing
    for (name, _), a, b in zip(one.named_parameters(), found, wanted, strict=True):
        assert (a - b).abs().max() <= 1e-6 * max(float(b.abs().max()), 0.1 * largest), name


def test_a_hook_on_a_weight_sees_one_gradient_a_backward_pass() -> None:
    model, seen = headed(), dict[str, int]()
    for name, parameter in model.named_parameters():
        parameter.register_post_accumulate_grad_hook(lambda _, n=name: seen.update({n: seen.get(n, 0) + 1}))
    model(*rows()).backward()
    assert seen == {name: 1 for name, _ in model.named_parameters()}
    assert next(iter(seen)) == "norm.weight", "the first is one of the outer pass: DeepSpeed reduces at its end"


@torch.no_grad()
def test_the_next_token_is_that_of_the_model_without_heads_to_the_bit() -> None:
    plain, model = Transformer(CONFIG, VOCAB), headed()
    initialise(plain, 3)
    tokens, segments, labels = rows()
    assert torch.equal(model(tokens, segments), plain(tokens, segments))
    assert torch.equal(model(tokens, segments, labels), plain(tokens, segments, labels))
    assert torch.equal(model(tokens, segments, labels, each=True), plain(tokens, segments, labels, each=True))


@settings(max_examples=50, deadline=None)
@given(cuts=st.lists(st.integers(1, 11), max_size=4), ahead=st.integers(1, 13), hidden=st.sets(st.integers(0, 11)))
def test_a_label_ahead_is_of_the_same_document_and_learnt(cuts: list[int], ahead: int, hidden: set[int]) -> None:
    segments = (torch.arange(12)[None] >= torch.tensor([0, *sorted(set(cuts))])[:, None]).sum(0)[None]
    labels = torch.arange(12)[None] + 100
    labels[0, list(hidden)] = IGNORE
    found = labels_ahead(labels, segments, ahead)[0].tolist()
    for at, label in enumerate(found):
        there = at + ahead
        fits = there < 12 and segments[0, there] == segments[0, at] and there not in hidden
        assert label == (there + 100 if fits else IGNORE)


def test_a_head_learns_nothing_where_no_document_is_that_long() -> None:
    model = headed()
    tokens, _, labels = rows()
    segments = torch.arange(24).expand(3, -1).contiguous() // 2
    model(tokens, segments, labels).backward()
    counts = model.take_ahead()[:, 1]
    assert counts[0] > 0 and counts[1:].tolist() == [0, 0]
    assert all((p.grad is not None and not p.grad.any()) for p in model.ahead[1].parameters())
    assert not model.take_ahead().any(), "sums are told once"


def test_parameters_and_flops_are_counted_without_building() -> None:
    config = CONFIG.model_copy(update={"mtp": HEADS})
    model, plain = headed(), Decoder().num_parameters(CONFIG, VOCAB)
    assert Decoder().num_parameters(config, VOCAB) == sum(p.numel() for p in model.parameters())
    assert {n: tuple(p.shape) for n, p in model.named_parameters()} == {
        name: found.shape for name, found in Decoder().parameters(config, VOCAB).items()
    }
    layer = Decoder().num_parameters(config, VOCAB) - plain
    table, attention = 64 * 32, 12 * 4 * 8 * 24
    more = Decoder().flops_per_token(config, VOCAB) - Decoder().flops_per_token(CONFIG, VOCAB)
    assert more == 6 * (layer + 3 * table) + 3 * attention
