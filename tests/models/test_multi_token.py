"""Is what cannot be predicted ahead refused in one sentence, and is off the default?"""

import pytest
from pydantic import ValidationError

from models.config import ModelConfig
from models.kinds.kinds import model_config


def test_a_model_predicts_the_next_token_alone_unless_it_is_asked() -> None:
    assert (ModelConfig().mtp, ModelConfig().further) == (None, 0)
    asked = ModelConfig.model_validate({"mtp": {"tokens": 3, "weights": 0.5}})
    assert asked.mtp is not None
    assert (asked.further, asked.mtp.shares) == (2, (0.5, 0.5))
    assert asked.trunk == ModelConfig(layers=4) and ModelConfig.model_validate_json(asked.model_dump_json()) == asked
    each = ModelConfig.model_validate({"mtp": {"tokens": 3, "weights": [1, 0.25]}})
    assert each.mtp is not None and each.mtp.shares == (1, 0.25)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"mtp": {"tokens": 1}}, "greater than or equal to 2"),
        (
            {"mtp": {"tokens": 4, "weights": [1, 0.5]}},
            r"weights=\[1.0, 0.5\] are 2 for tokens=4, which has 3 beyond the next one; give one number, or",
        ),
        ({"mtp": {"weights": 0}}, "weights=0.0 must lie above 0 and be at most 100; use 1, or lower tokens"),
        (
            {"mtp": {}, "lora": {}, "from": "base"},
            "lora stands beside mtp of tokens=4, whose heads train with all weights; set one of them to null",
        ),
        ({"mtp": {}, "freeze": 1, "from": "base"}, "freeze stands beside mtp of tokens=4"),
    ],
)
def test_what_does_not_fit_is_refused(values: dict[str, object], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        ModelConfig.model_validate(values)


@pytest.mark.parametrize("kind", ["transformers", "encoder"])
def test_other_kinds_predict_no_further_tokens(kind: str) -> None:
    with pytest.raises(ValueError, match=f"kind={kind} predicts no further tokens; leave mtp out, or use"):
        model_config({"kind": kind, "from": "base", "mtp": {}})
