"""Which rules may drop a document? One function per rule over all documents of a batch, and their thresholds."""

import difflib
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field, field_validator

from cluster.units import Settings, Share

Flags = npt.NDArray[np.bool_]


class CurateConfig(Settings):
    """What a text has to be like. The defaults pass prose and source code alike, and stop debris."""

    rules: tuple[str, ...] = Field(
        default_factory=lambda: tuple(RULES), description="The rules to apply, in this order; default all."
    )
    min_chars: int = Field(20, ge=0, le=1_000_000, description="A shorter text is dropped (too_short).")
    max_chars: int = Field(2_000_000, ge=1, le=500_000_000, description="A longer text is dropped (too_long).")
    min_letter_share: Share = Field(0.3, description="Letters among the characters that are not white space.")
    max_digit_share: Share = Field(0.5, description="Digits among the characters that are not white space.")
    max_symbol_share: Share = Field(0.5, description="Neither letter nor digit, among those not white space.")
    max_repeated_char_share: Share = Field(0.5, description="Characters equal to the one before them, likewise.")

    @field_validator("rules")
    @classmethod
    def _rules_exist(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        for name in names:
            if name not in RULES:
                close = difflib.get_close_matches(name, RULES, n=1, cutoff=0.4)
                hint = f"did you mean {close[0]!r}?" if close else f"use some of {', '.join(RULES)}"
                raise ValueError(f"there is no rule {name!r}; {hint}")
        if len(set(names)) < len(names):
            raise ValueError(f"rules={list(names)} names a rule twice; name each once")
        return names


class Verdict(NamedTuple):
    """What a rule says about a batch: bool[n] of texts to drop and, if it rewrites, all n texts anew."""

    drop: Flags
    texts: pa.Array | None = None


#: A rule sees normalised texts (string[n], no nulls, none empty); their order must not matter.
Rule = Callable[[pa.Array, CurateConfig], Verdict]


def too_short(texts: pa.Array, config: CurateConfig) -> Verdict:
    """Drop texts of fewer than `min_chars` characters."""
    return Verdict(pc.utf8_length(texts).to_numpy(zero_copy_only=False) < config.min_chars)


def too_long(texts: pa.Array, config: CurateConfig) -> Verdict:
    """Drop texts of more than `max_chars` characters."""
    return Verdict(pc.utf8_length(texts).to_numpy(zero_copy_only=False) > config.max_chars)


def _character_counts(texts: pa.Array) -> npt.NDArray[np.int64]:
    from data_ops.kernels.character_counts import character_counts  # numba, as above

    return character_counts(texts)


def few_letters(texts: pa.Array, config: CurateConfig) -> Verdict:
    """Drop texts with too few letters: tables, dumps, rules of dashes."""
    letters, _, _, visible = _character_counts(texts)
    return Verdict(letters < config.min_letter_share * visible)


def many_digits(texts: pa.Array, config: CurateConfig) -> Verdict:
    """Drop texts that are mostly numbers."""
    _, digits, _, visible = _character_counts(texts)
    return Verdict(digits > config.max_digit_share * visible)


def many_symbols(texts: pa.Array, config: CurateConfig) -> Verdict:
    """Drop texts that are mostly neither letters nor digits: markup, emoji, minified code."""
    letters, digits, _, visible = _character_counts(texts)
    return Verdict(visible - letters - digits > config.max_symbol_share * visible)


def repeated_characters(texts: pa.Array, config: CurateConfig) -> Verdict:
    """Drop texts where too many characters repeat the one before: `aaaaaaa`, `=======`."""
    _, _, repeated, visible = _character_counts(texts)
    return Verdict(repeated > config.max_repeated_char_share * visible)


#: The one place where a rule is made known; the key is the reason a dropped document carries.
RULES: dict[str, Rule] = {
    "too_short": too_short,
    "too_long": too_long,
    "few_letters": few_letters,
    "many_digits": many_digits,
    "many_symbols": many_symbols,
    "repeated_characters": repeated_characters,
}
