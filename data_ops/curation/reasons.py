"""What does a reason mean that stands beside a document? The house has one table, and each rule brings its own."""

from data_ops.curation.config import RULES
from data_ops.documents.reasons import REASONS, Reason


def reasons() -> dict[str, Reason]:
    """Return every reason a record may carry, those of rules included that installed packages add."""
    return {**{name: Reason("dropped", rule.meaning()) for name, rule in RULES.items()}, **REASONS}


def meaning_of(reason: str) -> str:
    """Say what a reason means; a reason that nothing here gives belongs to a rule that is no longer installed."""
    found = REASONS.get(reason)
    if found is None and reason in RULES:
        return RULES[reason].meaning()
    return found.meaning if found else "a rule that is not installed here"
