"""Are a decoder's parameters those that are said of it?"""

import pytest

from models.config import ModelConfig
from models.kinds.decoder import Decoder
from models.kinds.shapes import parameter_shapes
from models.kinds.transformer import Transformer
from models.size import padded_vocab
from tests.support.rows import SWITCHED, VOCAB


@pytest.mark.parametrize("config", SWITCHED)
def test_every_parameter_is_named_and_counted_without_building(config: ModelConfig) -> None:
    model = Transformer(config, VOCAB)
    named = {name: tuple(parameter.shape) for name, parameter in model.named_parameters()}
    assert parameter_shapes(config, padded_vocab(VOCAB)) == named
    assert Decoder().num_parameters(config, VOCAB) == sum(p.numel() for p in model.parameters())
