"""Does every parameter have one name elsewhere?"""

from models.config import ModelConfig
from models.kinds.exchange.names import their_name
from models.kinds.shapes import parameter_shapes


def test_no_two_parameters_share_a_name() -> None:
    for norm_at in ("before", "after"):
        config = ModelConfig(tie_embeddings=False, biases="all", qk_norm="head", norm_at=norm_at)  # type: ignore[arg-type]
        names = [their_name(name, config) for name in parameter_shapes(config, 64)]
        assert len(set(names)) == len(names)
        assert {"model.embed_tokens.weight", "lm_head.weight", "model.norm.weight"} <= set(names)
