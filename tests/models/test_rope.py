"""Is a scaling of positions that says too little refused?"""

import pytest
from pydantic import ValidationError

from models.rope import RopeConfig


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"kind": "yarn"}, "kind=yarn needs the context before scaling; set original_tokens"),
        ({"original_tokens": 64, "low_freq_factor": 4}, "high_freq_factor=4 is not above low_freq_factor=4; raise it"),
    ],
)
def test_a_scaling_that_cannot_be_computed_is_refused(values: dict[str, object], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        RopeConfig.model_validate(values)


def test_a_linear_scaling_needs_no_context() -> None:
    assert RopeConfig(kind="linear", factor=2).original_tokens is None
