"""Does the model see what it should, and nothing else?"""

import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from models.config import ModelConfig
from models.kinds.building import load_weights
from models.kinds.cache import Cache
from models.kinds.decoder import Decoder
from models.kinds.transformer import Transformer, initialise
from models.measures import metrics
from models.size import padded_vocab
from tests.support.rows import CONFIG, SWITCHED, VOCAB, packed_rows


def model(config: ModelConfig = CONFIG, seed: int = 0) -> Transformer:
    """Build an initialised model."""
    built = Transformer(config, VOCAB)
    initialise(built, seed)
    return built


@pytest.mark.slow
@settings(max_examples=25)
@given(
    cuts=st.lists(st.integers(1, 23), min_size=1, max_size=5), dtype=st.sampled_from([torch.float32, torch.bfloat16])
)
@torch.no_grad()
def test_a_packed_document_reads_as_if_it_stood_alone(cuts: list[int], dtype: torch.dtype) -> None:
    net = model().to(dtype)
    tokens, segments = packed_rows(cuts)
    hidden = net(tokens, segments)
    bounds = [0, *sorted(set(cuts)), 24]
    tolerance = 1e-5 if dtype == torch.float32 else 0.1  # other kernels, other order of additions
    for start, end in itertools.pairwise(bounds):
        alone = net(tokens[:, start:end])
        torch.testing.assert_close(hidden[:, start:end], alone, rtol=tolerance, atol=tolerance)


@torch.no_grad()
def test_changing_a_document_leaves_the_others_bitwise_alone() -> None:
    net = model()
    tokens, segments = packed_rows([7, 15], rows=3)
    before = net(tokens, segments)
    tokens[:, 7:15] = (tokens[:, 7:15] + 1) % VOCAB
    after = net(tokens, segments)
    assert torch.equal(before[:, :7], after[:, :7])
    assert torch.equal(before[:, 15:], after[:, 15:])
    assert not torch.equal(before[:, 7:15], after[:, 7:15])


@torch.no_grad()
def test_no_position_sees_the_future() -> None:
    net = model()
    tokens, _ = packed_rows([1])
    before = net(tokens)
    tokens[:, 12] = (tokens[:, 12] + 1) % VOCAB
    after = net(tokens)
    assert torch.equal(before[:, :12], after[:, :12])
    assert not torch.equal(before[:, 12], after[:, 12])


@torch.no_grad()
def test_a_row_of_one_document_is_the_same_with_and_without_segments() -> None:
    tokens, _ = packed_rows([1])
    assert torch.equal(model()(tokens), model()(tokens, torch.full_like(tokens, 3)))


@given(
    layers=st.integers(1, 3),
    heads=st.sampled_from([2, 4]),
    kv_heads=st.sampled_from([None, 1, 2]),
    tied=st.booleans(),
    vocab=st.integers(2, 200),
)
@settings(max_examples=20)
def test_the_count_of_parameters_is_the_model_s(
    layers: int, heads: int, kv_heads: int | None, tied: bool, vocab: int
) -> None:
    config = ModelConfig(layers=layers, width=16, heads=heads, kv_heads=kv_heads, tie_embeddings=tied, row_tokens=8)
    built = Transformer(config, vocab)
    assert Decoder().num_parameters(config, vocab) == sum(p.numel() for p in built.parameters())
    assert built.embed.weight.shape[0] == padded_vocab(vocab) >= vocab
    assert (built.embed.weight is built.head.weight) == tied


def test_initial_weights_are_a_function_of_the_seed_and_the_name() -> None:
    one, same, other = model(), model(), model(seed=1)
    torch.manual_seed(99)
    deeper = model(CONFIG.model_copy(update={"layers": 3, "init_std": CONFIG.init_std}))
    for (name, a), b, c in zip(one.named_parameters(), same.parameters(), other.parameters(), strict=True):
        assert torch.equal(a, b)
        assert a.ndim < 2 or not torch.equal(a, c), name
    assert torch.equal(one.layers[0].q.weight, deeper.layers[0].q.weight)
    std = one.layers[0].gate.weight.std().item()
    assert std == pytest.approx(CONFIG.init_std, rel=0.1)
    assert one.layers[0].down.weight.std().item() == pytest.approx(CONFIG.init_std / 2, rel=0.15)


def test_given_weights_replace_the_initial_ones_or_are_refused() -> None:
    source, target = model(seed=1), model()
    weights = {name: parameter.detach() for name, parameter in source.named_parameters()}
    load_weights(target, weights)
    assert all(torch.equal(a, b) for a, b in zip(source.parameters(), target.parameters(), strict=True))
    with pytest.raises(ValueError, match=r"norm.weight is \(32,\) in the model and absent"):
        load_weights(target, {name: weight for name, weight in weights.items() if name != "norm.weight"})


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"width": 100, "heads": 3}, "width=100 is not a multiple of heads=3; use width=99"),
        ({"width": 36, "heads": 4}, "width=36 over heads=4 gives heads of odd width; .* use width=40"),
        ({"heads": 4, "kv_heads": 3}, "kv_heads=3 does not divide heads=4; use one of \\[1, 2, 4\\]"),
        ({"layer": 4}, "layer"),
    ],
)
def test_a_shape_that_cannot_be_built_says_what_would_work(values: dict[str, int], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        ModelConfig(**values)


def test_flops_follow_palm_and_utilisation_is_a_share_of_the_peak() -> None:
    config = ModelConfig(layers=4, width=128, heads=4, row_tokens=256, tie_embeddings=False)
    matrices = Decoder().num_parameters(config, 1000) - padded_vocab(1000) * 128
    assert Decoder().flops_per_token(config, 1000) == 6 * matrices + 12 * 4 * 128 * 256
    assert Decoder().flops_per_token(config, 1000, causal=True) == 6 * matrices + 6 * 4 * 128 * 256
    tied = config.model_copy(update={"tie_embeddings": True})
    assert Decoder().flops_per_token(tied, 1000) == Decoder().flops_per_token(config, 1000)
    assert metrics.peak_flops("NVIDIA H100 PCIe") == 756e12
    assert metrics.peak_flops("NVIDIA H200") == 989e12
    assert metrics.mfu(1000.0, 1e9, 2, 1e12) == 0.5
    assert metrics.mfu(1000.0, 1e9, 2, None) is None
    assert metrics.bits_per_byte(0.0, 0) != metrics.bits_per_byte(0.0, 0)


@pytest.mark.parametrize("config", SWITCHED)
@torch.no_grad()
def test_reading_on_from_a_cache_gives_the_logits_of_the_whole(config: ModelConfig) -> None:
    net, tokens = model(config), packed_rows([1], rows=2)[0]
    whole = net.head.logits(net(tokens))[..., :VOCAB]
    cache = Cache(2, 24, config, net.head.weight)
    for start, end in itertools.pairwise([0, 7, 8, 9, 24]):
        torch.testing.assert_close(net.read_on(tokens[:, start:end], cache), whole[:, end - 1], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"head_width": 7}, "head_width=7 is odd"),
        ({"layer_kinds": ("full",)}, "layer_kinds has 1 kinds for layers=2; name one for each layer"),
        ({"layer_kinds": ("full", "window")}, "names window, and window is absent; set"),
        ({"rope": {"kind": "yarn"}}, "kind=yarn needs the context before scaling; set original_tokens"),
        ({"rope": {"original_tokens": 64, "low_freq_factor": 4}}, "high_freq_factor=4 is not above low_freq_factor=4"),
    ],
)
def test_switches_that_contradict_each_other_are_refused(values: dict[str, object], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        ModelConfig.model_validate({"layers": 2} | values)
