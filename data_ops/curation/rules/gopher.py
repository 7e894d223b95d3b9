"""Is a text prose that was written to be read, and does it not repeat itself? The filters of Gopher.

Rae et al. 2021, appendix A.1.1 and table A1 (arXiv:2112.11446), in the reading of datatrove, with words as white space
cuts them. Made for web pages in languages that put spaces between words; code and Chinese do not pass. Name the sources
they are for: `{kind: gopher_quality, sources: [web]}`.
"""

from typing import Annotated

from pydantic import Field

from cluster.units import Share
from data_ops.curation.rules.rule import Rule, RuleVerdict, Texts, ratio
from data_ops.kernels.arrays import Bools

_Words = Annotated[int, Field(ge=0, le=100_000_000)]
_Length = Annotated[float, Field(ge=0, le=1_000)]
_Top = tuple[Share, Share, Share]
_Duplicate = tuple[Share, Share, Share, Share, Share, Share]


class GopherQuality(Rule):
    """Drop texts that are not prose, by the quality filter of Gopher. Words of symbols alone do not count."""

    min_words: _Words = Field(50, description="Fewest words.")
    max_words: _Words = Field(100_000, description="Most words.")
    min_word_length: _Length = Field(3.0, description="Least mean of characters a word.")
    max_word_length: _Length = Field(10.0, description="Largest mean of characters a word.")
    max_hash_ratio: Share = Field(0.1, description="Number signs for each word.")
    max_ellipsis_ratio: Share = Field(0.1, description="Ellipses for each word.")
    max_bullet_share: Share = Field(0.9, description="Lines that begin with a dash or a bullet.")
    max_ellipsis_share: Share = Field(0.3, description="Lines that end with an ellipsis.")
    min_letter_share: Share = Field(0.8, description="Words that have a letter.")
    min_stop_words: int = Field(2, ge=0, le=8, description="Of the, be, to, of, and, that, have, with, this many.")

    def judge(self, texts: Texts) -> RuleVerdict:
        """One bound broken is enough."""
        seen = texts.measured.prose
        lines = seen.newlines + 1
        length = ratio(seen.plain_chars, seen.plain_words)
        return RuleVerdict(
            (seen.plain_words < self.min_words)
            | (seen.plain_words > self.max_words)
            | (length < self.min_word_length)
            | (length > self.max_word_length)
            | (ratio(seen.hashes, seen.words) > self.max_hash_ratio)
            | (ratio(seen.ellipses, seen.words) > self.max_ellipsis_ratio)
            | (ratio(seen.bullet_lines, lines) > self.max_bullet_share)
            | (ratio(seen.ellipsis_lines, lines) > self.max_ellipsis_share)
            | (ratio(seen.letter_words, seen.words) < self.min_letter_share)
            | (seen.stop_words < self.min_stop_words)
        )


class GopherRepetition(Rule):
    """Drop texts that say too much again, by the repetition filter of Gopher: lines, paragraphs, runs of words."""

    max_line_share: Share = Field(0.3, description="Lines that were there before.")
    max_line_char_share: Share = Field(0.2, description="Characters in such lines.")
    max_paragraph_share: Share = Field(0.3, description="Paragraphs that were there before.")
    max_paragraph_char_share: Share = Field(0.2, description="Characters in such paragraphs.")
    max_top_shares: _Top = Field(
        (0.2, 0.18, 0.16), description="Characters in the most frequent run of 2, 3 and 4 words."
    )
    max_duplicate_shares: _Duplicate = Field(
        (0.15, 0.14, 0.13, 0.12, 0.11, 0.10), description="Characters in runs of 5 to 10 words that were there before."
    )

    def judge(self, texts: Texts) -> RuleVerdict:
        """One bound broken is enough. A text of over a million words is judged by its first million."""
        seen, chars = texts.measured.pieces, texts.measured.prose.chars
        drop: Bools = (
            (ratio(seen.repeated_lines, seen.lines) > self.max_line_share)
            | (ratio(seen.repeated_line_chars, chars) > self.max_line_char_share)
            | (ratio(seen.repeated_paragraphs, seen.paragraphs) > self.max_paragraph_share)
            | (ratio(seen.repeated_paragraph_chars, chars) > self.max_paragraph_char_share)
        )
        said = texts.measured.runs
        bounds = [*zip(said.top, self.max_top_shares, strict=True)]
        bounds += zip(said.duplicate, self.max_duplicate_shares, strict=True)
        for repeated, most in bounds:
            drop |= ratio(repeated, said.chars) > most
        return RuleVerdict(drop)
