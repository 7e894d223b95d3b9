"""Do tables grow by rows that are the mean, and by nothing else?"""

import pytest
import torch

from models.kinds.exchange.growth import GrownWeights
from models.kinds.transformer import Transformer, initialise
from tests.support.rows import SWITCHED

KNOWN, WANTED = 50, 70  # of 64 and 128 rows with padding


@pytest.mark.parametrize("config", SWITCHED[:2])
@torch.no_grad()
def test_a_grown_model_says_of_known_tokens_what_it_said(config: object) -> None:
    model = Transformer(config, KNOWN)  # type: ignore[arg-type]
    initialise(model, 1)
    weights = dict(model.named_parameters())
    grown = GrownWeights(weights, KNOWN, WANTED)
    larger = Transformer(config, WANTED)  # type: ignore[arg-type]
    larger.load_state_dict(dict(grown), strict=False)
    tokens = torch.randint(0, KNOWN, (2, 20))
    before, after = model.head.logits(model(tokens)), larger.head.logits(larger(tokens))
    torch.testing.assert_close(after[..., :KNOWN], before[..., :KNOWN])
    torch.testing.assert_close(after[..., KNOWN:WANTED], before[..., :KNOWN].mean(-1, keepdim=True).expand(-1, -1, 20))
    assert grown.keys() == weights.keys()
    table = next(name for name in ("head.weight", "embed.weight") if name in weights)
    assert not grown[table][WANTED:].any()
    assert all(grown[name] is weight for name, weight in weights.items() if name not in ("head.weight", "embed.weight"))
