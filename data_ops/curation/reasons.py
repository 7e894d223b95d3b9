"""What does a reason mean that stands beside a document? The house has one table, and each rule brings its own."""

from data_ops.curation.config import HISTORIES, RULES
from data_ops.documents.reasons import REASONS, Reason


def reasons() -> dict[str, Reason]:
    """Return every reason a record may carry, those of rules included that installed packages add."""
    rules = {**RULES, **HISTORIES}
    return {**{name: Reason("dropped", rule.meaning()) for name, rule in rules.items()}, **REASONS}


def meaning_of(reason: str) -> str:
    """Say what a reason means; a reason that nothing here gives belongs to a rule that is no longer installed."""
    for members in (RULES, HISTORIES):
        if reason in list(members):
            return members[reason].meaning()
    return REASONS[reason].meaning if reason in REASONS else "a rule that is not installed here"
