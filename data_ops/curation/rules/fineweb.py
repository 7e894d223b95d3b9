"""Is a web page made of sentences and not of lists? The filter of FineWeb (Penedo et al. 2024, arXiv:2406.17557).

Made for the web, in any script whose marks end sentences; code does not pass. Name the sources it is for.
"""

from pydantic import Field

from cluster.units import Share
from data_ops.curation.rules.rule import Rule, RuleVerdict, Texts, ratio


class FineWebQuality(Rule):
    """Drop pages whose lines are short, unended or there twice, by the quality filter of FineWeb."""

    min_ended_share: Share = Field(0.12, description="Lines that end with a mark that ends a sentence.")
    max_short_share: Share = Field(0.67, description="Lines of 30 characters at most.")
    max_repeated_char_share: Share = Field(0.01, description="Characters in lines that were there before.")
    max_newline_ratio: Share = Field(0.3, description="Line ends for each word.")

    def judge(self, texts: Texts) -> RuleVerdict:
        """One bound broken is enough."""
        seen, lines = texts.measured.prose, texts.measured.pieces
        return RuleVerdict(
            (ratio(seen.ended_lines, seen.full_lines) < self.min_ended_share)
            | (ratio(seen.short_lines, seen.full_lines) > self.max_short_share)
            | (ratio(lines.repeated_line_chars, seen.chars - seen.newlines) > self.max_repeated_char_share)
            | (ratio(seen.newlines, seen.words) > self.max_newline_ratio)
        )
