"""The rule `shouting`: its name is the reason of every document that it drops."""

import pyarrow.compute as pc
from pydantic import Field

from data_ops.curation.rules.rule import Rule, RuleVerdict, Texts


class Shouting(Rule):
    """Drop texts of one source that are written in capitals."""

    source: str = Field("", description="Label of the source; absent: all sources.")

    def judge(self, texts: Texts) -> RuleVerdict:
        """Look at text and metadata of a batch at once."""
        shouts = pc.utf8_is_upper(texts.text)
        if self.source:
            shouts = pc.and_(shouts, pc.equal(texts.source, self.source))
        return RuleVerdict(shouts.to_numpy(zero_copy_only=False))
