"""Is a text too short or too long to learn from?"""

from typing import Annotated

import numpy as np
import numpy.typing as npt
import pyarrow.compute as pc
from pydantic import Field

from data_ops.curation.rules.rule import Rule, RuleVerdict, Texts

Fewest = Annotated[int, Field(ge=0, le=1_000_000, description="A shorter text is dropped (too_short).")]
Most = Annotated[int, Field(ge=1, le=500_000_000, description="A longer text is dropped (too_long).")]


class TooShort(Rule):
    """Drop texts of fewer than `min_chars` characters."""

    min_chars: Fewest = 20

    def judge(self, texts: Texts) -> RuleVerdict:
        """Characters (code points), below the fewest."""
        return RuleVerdict(_lengths(texts) < self.min_chars)


class TooLong(Rule):
    """Drop texts of more than `max_chars` characters."""

    max_chars: Most = 2_000_000

    def judge(self, texts: Texts) -> RuleVerdict:
        """Characters (code points), above the most."""
        return RuleVerdict(_lengths(texts) > self.max_chars)


def _lengths(texts: Texts) -> npt.NDArray[np.int32]:
    lengths: npt.NDArray[np.int32] = pc.utf8_length(texts.text).to_numpy(zero_copy_only=False)
    return lengths
