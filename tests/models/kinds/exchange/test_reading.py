"""Is a config.json that our decoder cannot follow refused in a sentence?"""

from pathlib import Path
from typing import Any

import pytest

from models.config import ModelConfig
from models.kinds.exchange.families import config_json
from models.kinds.exchange.reading import config_of

PLAIN = config_json(ModelConfig(), 100)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"model_type": "gpt2"}, r"there has model_type=gpt2; choose a checkpoint of one of llama, mistral"),
        ({"auto_map": {"AutoModel": "code.Model"}}, "brings code of its own .*never run; choose"),
        ({"quantization_config": {"bits": 4}}, "quantization_config=.*choose another checkpoint"),
        ({"hidden_act": "gelu"}, "hidden_act=gelu, only silu"),
        ({"rope_scaling": {"rope_type": "longrope", "factor": 2.0}}, "rope scaling=longrope, only linear"),
        ({"rope_scaling": {"rope_type": "yarn", "factor": 2.0, "mscale": 1.0}}, "rope scaling=yarn with mscale"),
        ({"model_type": "olmo2", "attention_bias": True}, "attention_bias=true, which olmo2 has not here; choose"),
        ({"num_hidden_layers": "many"}, "num_hidden_layers=many, which is no number of things"),
        ({"num_key_value_heads": 3}, "kv_heads=3 does not divide heads=4"),
    ],
)
def test_mathematics_that_ours_has_not_is_refused(change: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        config_of(PLAIN | change, Path("there"))


def test_a_config_json_without_a_shape_is_refused() -> None:
    with pytest.raises(ValueError, match=r"there/config\.json has no hidden_size; fetch"):
        config_of({key: value for key, value in PLAIN.items() if key != "hidden_size"}, Path("there"))
