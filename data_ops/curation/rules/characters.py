"""Do the characters of a text look like something that was written to be read?

The defaults pass prose and source code alike, and stop debris: tables, dumps, rules of dashes, minified code.
"""

from typing import Annotated

from pydantic import Field

from cluster.units import Share
from data_ops.curation.rules.rule import Rule, RuleVerdict, Texts

LetterShare = Annotated[Share, Field(description="Letters among the characters that are not white space.")]
DigitShare = Annotated[Share, Field(description="Digits among the characters that are not white space.")]
SymbolShare = Annotated[Share, Field(description="Neither letter nor digit, among those not white space.")]
RepeatedShare = Annotated[Share, Field(description="Characters equal to the one before them, likewise.")]


class FewLetters(Rule):
    """Drop texts with too few letters: tables, dumps, rules of dashes."""

    min_letter_share: LetterShare = 0.3

    def judge(self, texts: Texts) -> RuleVerdict:
        """Letters over visible characters, below the least share."""
        letters, _, _, visible = texts.measured.characters
        return RuleVerdict(letters < self.min_letter_share * visible)


class ManyDigits(Rule):
    """Drop texts that are mostly numbers."""

    max_digit_share: DigitShare = 0.5

    def judge(self, texts: Texts) -> RuleVerdict:
        """Digits over visible characters, above the most."""
        _, digits, _, visible = texts.measured.characters
        return RuleVerdict(digits > self.max_digit_share * visible)


class ManySymbols(Rule):
    """Drop texts that are mostly neither letters nor digits: markup, emoji, minified code."""

    max_symbol_share: SymbolShare = 0.5

    def judge(self, texts: Texts) -> RuleVerdict:
        """Neither letters nor digits, over visible characters, above the most."""
        letters, digits, _, visible = texts.measured.characters
        return RuleVerdict(visible - letters - digits > self.max_symbol_share * visible)


class RepeatedCharacters(Rule):
    """Drop texts where too many characters repeat the one before: `aaaaaaa`, `=======`."""

    max_repeated_char_share: RepeatedShare = 0.5

    def judge(self, texts: Texts) -> RuleVerdict:
        """Characters equal to the one before, over visible characters, above the most."""
        _, _, repeated, visible = texts.measured.characters
        return RuleVerdict(repeated > self.max_repeated_char_share * visible)
