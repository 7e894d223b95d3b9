"""Which lines of a web page are sentences, and is enough left without the others? The filter of C4.

Raffel et al. 2020, section 2.2 (JMLR 21:140), in the reading of datatrove, with sentences as their marks end them. It
rewrites: what stays of a page is its sentences.
"""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field

from data_ops.curation.rules.rule import Rule, RuleVerdict, Texts
from data_ops.documents.spelling import normalised
from data_ops.kernels.arrays import Bools, Ints

CITATION = r"\[\d*\]|\[edit\]|\[citation needed\]"
POLICIES = ("terms of use", "privacy policy", "cookie policy", "uses cookies", "use of cookies", "use cookies")
SENTENCE_END = r"[.?!][\"')\]”’]*(\s|$)"


class C4(Rule):
    """Drop pages with few sentences, with curly brackets or lorem ipsum, by C4. Lines that are no sentences go."""

    min_sentences: int = Field(5, ge=0, le=1_000, description="Fewest sentences of what is left.")
    min_line_words: int = Field(3, ge=0, le=1_000, description="A line of fewer words goes.")
    max_word_chars: int = Field(1_000, ge=1, le=1_000_000, description="A line with a longer word goes.")
    curly_brackets: bool = Field(False, description="Let texts with curly brackets pass: code.")

    def judge(self, texts: Texts) -> RuleVerdict:
        """Lines that stay are ended by . ? ! or a quotation mark, and speak neither of JavaScript nor of policies."""
        pages = pc.split_pattern(texts.text, "\n")
        bounds: Ints = pages.offsets.to_numpy(zero_copy_only=False).astype(np.int64)
        lines, stays = self._sentences(pages.values)
        small = pc.utf8_lower(lines)
        spoils = _true(pc.match_substring(small, "lorem ipsum"))
        good = ~_true(pc.match_substring(small, "javascript"))
        if not self.curly_brackets:
            spoils |= good & _true(pc.match_substring(lines, "{"))
        good &= ~_true(pc.match_substring_regex(small, "|".join(POLICIES)))
        ends = pc.count_substring_regex(lines, SENTENCE_END).to_numpy(zero_copy_only=False)
        bounds = np.concatenate([[0], np.cumsum(stays)])[bounds]  # of the lines that are left, by page
        drop = (_sums(ends * good, bounds) < self.min_sentences) | (_sums(good, bounds) == 0)
        drop |= _sums(spoils, bounds) > 0
        kept = pa.array(np.concatenate([[0], np.cumsum(good)])[bounds], pa.int64())
        left = pc.binary_join(pa.LargeListArray.from_arrays(kept, lines.filter(pa.array(good))), "\n")
        return RuleVerdict(drop, normalised(pc.if_else(pa.array(drop), texts.text, left.cast(texts.text.type))))

    def _sentences(self, lines: pa.Array) -> tuple[pa.Array, Bools]:
        """Return the lines that end as a sentence does and have enough words, trimmed, and which of all they are."""
        lines = pc.utf8_trim_whitespace(lines)
        ended = _ended(lines) | _true(pc.ends_with(lines, "]"))  # of a citation
        words, longest = _words(lines.filter(pa.array(ended)))
        stays = ended.copy()
        stays[ended] = (longest <= self.max_word_chars) & (words >= self.min_line_words)
        lines = pc.replace_substring_regex(lines.filter(pa.array(stays)), CITATION, "")
        still = _ended(lines)
        stays[stays] = still
        return lines.filter(pa.array(still)), stays


def _words(lines: pa.Array) -> tuple[Ints, Ints]:
    """How many words each line has, and how many characters the longest of them."""
    words = pc.utf8_split_whitespace(lines)
    bounds = words.offsets.to_numpy(zero_copy_only=False).astype(np.int64)
    lengths = pc.utf8_length(words.values).to_numpy(zero_copy_only=False).astype(np.int64)
    longest: Ints = np.zeros(len(lines), dtype=np.int64)
    full = np.flatnonzero(np.diff(bounds))
    if len(full):
        longest[full] = np.maximum.reduceat(lengths, bounds[:-1][full])
    return np.where(_true(pc.equal(lines, "")), 0, np.diff(bounds)), longest


def _ended(lines: pa.Array) -> Bools:
    """Whether a line ends with a mark that ends a sentence, and not with an ellipsis."""
    return _true(pc.match_substring_regex(lines, r"[.?!\"']$")) & ~_true(pc.ends_with(lines, "..."))


def _true(answers: pa.Array) -> Bools:
    found: Bools = answers.to_numpy(zero_copy_only=False)
    return found


def _sums(of_lines: Ints | Bools, bounds: Ints) -> Ints:
    """Sums over the lines of each page."""
    return np.diff(np.concatenate([[0], np.cumsum(of_lines)])[bounds])
