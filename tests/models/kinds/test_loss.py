"""Is the price of every token right, and does no document pay for another?"""

from collections.abc import Callable

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from models.config import ModelConfig
from models.device import MicroBatch
from models.kinds import loss
from models.kinds.decoder import Decoder
from models.kinds.loss import Head, document_nats
from models.kinds.transformer import Transformer, initialise

CONFIG = ModelConfig(layers=2, width=32, heads=4, row_tokens=24)
VOCAB = 70  # pads to 128
DOCUMENT = 0


def model(config: ModelConfig = CONFIG) -> Transformer:
    """Build an initialised model with sharper predictions than a fresh one."""
    built = Transformer(config, VOCAB)
    initialise(built, 3)
    with torch.no_grad():
        built.head.weight.mul_(20)
    return built


def nats_of(net: Transformer) -> Callable[[MicroBatch], torch.Tensor]:
    """What a kind answers for this model."""
    return lambda batch: Decoder().nats(net, batch)


def documents(lengths: list[int], seed: int = 0) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Make (inputs, labels) of documents: [D, t1..tn] predicts [t1..tn, D]."""
    random = np.random.default_rng(seed)
    texts = [torch.from_numpy(random.integers(1, VOCAB, n - 1)) for n in lengths]
    edge = torch.tensor([DOCUMENT])
    return [(torch.cat((edge, text))[None], torch.cat((text, edge))[None]) for text in texts]


def row_of(parts: list[tuple[torch.Tensor, torch.Tensor]], length: int) -> tuple[torch.Tensor, ...]:
    """Pack documents into one row with padding."""
    room = length - sum(inputs.shape[1] for inputs, _ in parts)
    inputs = torch.cat([i for i, _ in parts] + [torch.zeros(1, room, dtype=torch.long)], dim=1)
    labels = torch.cat([x for _, x in parts] + [torch.full((1, room), -100)], dim=1)
    numbers = [torch.full((1, i.shape[1]), n) for n, (i, _) in enumerate(parts)]
    return inputs, labels, torch.cat([*numbers, torch.full((1, room), -1)], dim=1)


@pytest.mark.slow
@settings(max_examples=25)
@given(lengths=st.lists(st.integers(1, 8), min_size=1, max_size=3), seed=st.integers(0, 99))
@torch.no_grad()
def test_a_packed_row_costs_what_its_documents_cost_alone(lengths: list[int], seed: int) -> None:
    net = model()
    parts = documents(lengths, seed)
    inputs, labels, segments = row_of(parts, 24)
    alone = [net(i, None, x).item() for i, x in parts]
    assert net(inputs, segments, labels).item() == pytest.approx(sum(alone), rel=1e-5)
    nats, predictions = document_nats(nats_of(net), MicroBatch(inputs, labels, segments), num_segments=3)
    assert nats[0, : len(alone)].tolist() == pytest.approx(alone, rel=1e-5)
    assert predictions[0].tolist() == lengths + [0] * (3 - len(lengths))
    assert nats[0, len(alone) :].abs().sum() == 0


def test_changing_one_document_changes_no_other_price() -> None:
    net = model()
    first = documents([6, 8, 5])
    changed = [first[0], documents([8], seed=9)[0], first[2]]
    before, _ = document_nats(nats_of(net), MicroBatch(*row_of(first, 24)), num_segments=3)
    after, _ = document_nats(nats_of(net), MicroBatch(*row_of(changed, 24)), num_segments=3)
    assert before[0, 0] == after[0, 0]
    assert before[0, 2] == after[0, 2]
    assert before[0, 1] != after[0, 1]


@pytest.mark.parametrize("chunk", [1, 5, 7, 10**9])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_value_and_gradient_are_those_of_cross_entropy(
    monkeypatch: pytest.MonkeyPatch, chunk: int, dtype: torch.dtype
) -> None:
    monkeypatch.setattr(loss, "LOGIT_BYTES", 4 * 128 * chunk)
    torch.manual_seed(0)
    head = Head(16, VOCAB, 128)
    torch.nn.init.normal_(head.weight)
    head.to(dtype)
    hidden = torch.randn(3, 9, 16).to(dtype).requires_grad_()
    labels = torch.randint(0, VOCAB, (3, 9))
    labels[0, :4] = -100
    value = head(hidden, labels)
    (value * 0.3).backward()
    got = (hidden.grad, head.weight.grad)
    hidden.grad = head.weight.grad = None
    logits = F.linear(hidden, head.weight)[..., :VOCAB].float()
    expected = F.cross_entropy(logits.flatten(0, 1), labels.flatten(), ignore_index=-100, reduction="sum")
    (expected * 0.3).backward()
    tolerance = 1e-5 if dtype == torch.float32 else 3e-2
    torch.testing.assert_close(value, expected, rtol=1e-5, atol=1e-4)
    torch.testing.assert_close(got[0], hidden.grad, rtol=tolerance, atol=tolerance)
    torch.testing.assert_close(got[1], head.weight.grad, rtol=tolerance, atol=tolerance)
    assert head.weight.grad is not None
    assert got[1][VOCAB:].abs().sum() == 0, "padding of the vocabulary must learn nothing"


def test_the_chunks_never_hold_more_logits_than_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loss, "LOGIT_BYTES", 4 * 128 * 5)
    seen = []
    real = loss.masked_logits

    def watched(*args: object) -> torch.Tensor:
        logits = real(*args)  # type: ignore[arg-type]
        seen.append(logits.nbytes)
        return logits

    monkeypatch.setattr(loss, "masked_logits", watched)
    head = Head(16, VOCAB, 128)
    torch.nn.init.normal_(head.weight)
    head(torch.randn(2, 8, 16), torch.zeros(2, 8, dtype=torch.long))
    assert len(seen) == 4
    assert max(seen) <= loss.LOGIT_BYTES


def test_the_padding_of_the_vocabulary_has_no_probability() -> None:
    net = model()
    logits = net.head.logits(net(torch.tensor([[1, 2, 3]])))
    assert logits.dtype == torch.float32
    assert torch.isinf(logits[..., VOCAB:]).all()
    assert torch.softmax(logits, -1)[..., :VOCAB].sum(-1).allclose(torch.ones(1, 3))


def test_a_row_without_labels_costs_nothing_and_teaches_nothing() -> None:
    net = model()
    nats = net(torch.ones(2, 24, dtype=torch.long), None, torch.full((2, 24), -100))
    nats.backward()
    assert nats.item() == 0.0
    assert all(parameter.grad.abs().sum() == 0 for parameter in net.parameters() if parameter.grad is not None)
