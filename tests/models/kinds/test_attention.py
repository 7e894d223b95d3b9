"""Does a position see its own document, its window, and nothing else, whichever way attention is computed?"""

import itertools

import pytest
import torch
import torch.nn.functional as F

from models.config import ModelConfig
from models.kinds import attention
from models.kinds.transformer import Transformer, initialise
from tests.support.rows import VOCAB, packed_rows

CONFIG = ModelConfig(layers=2, width=32, heads=4, kv_heads=2, row_tokens=24)


def model(config: ModelConfig) -> Transformer:
    built = Transformer(config, VOCAB)
    initialise(built, 0)
    return built


@pytest.mark.parametrize("window", [None, 5])
@torch.no_grad()
def test_flash_attention_over_packed_documents_agrees_with_the_mask(
    window: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    net = model(CONFIG.model_copy(update={"window": window}))
    tokens, segments = packed_rows([7, 15], rows=3)
    masked = net(tokens, segments)

    def varlen(q, k, v, starts, starts_k, longest, longest_k, window_size, enable_gqa):  # type: ignore[no-untyped-def]
        assert starts.dtype == torch.int32
        assert window_size == (-1 if window is None else window - 1, 0)
        assert enable_gqa
        parts = [slice(a, b) for a, b in itertools.pairwise(starts)]
        out = [
            F.scaled_dot_product_attention(
                *(x[part].transpose(0, 1).repeat_interleave(q.shape[1] // x.shape[1], 0) for x in (q, k, v)),
                attn_mask=attention.windowed(torch.ones(n, n, dtype=torch.bool).tril(), window),
            )
            for part, n in ((part, int(part.stop - part.start)) for part in parts)
        ]
        return torch.cat([x.transpose(0, 1) for x in out])

    monkeypatch.setattr(attention, "varlen_attn", varlen)
    monkeypatch.setattr(attention, "use_varlen", lambda *_: True)
    torch.testing.assert_close(net(tokens, segments), masked, rtol=1e-5, atol=1e-5)


@torch.no_grad()
def test_a_window_hides_what_is_before_it() -> None:
    net = model(CONFIG.model_copy(update={"layers": 1, "window": 5}))
    tokens, _ = packed_rows([1])
    before = net(tokens)
    tokens[:, 3] = (tokens[:, 3] + 1) % VOCAB
    after = net(tokens)
    assert torch.equal(before[:, 8:], after[:, 8:])
    assert not torch.equal(before[:, 7], after[:, 7])
