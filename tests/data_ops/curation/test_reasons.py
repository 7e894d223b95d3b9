"""Does every reason that can stand beside a record have a meaning, in one table?"""

import ast

from data_ops.curation.config import HISTORIES, RULES
from data_ops.curation.reasons import meaning_of, reasons
from data_ops.documents.reasons import QUARANTINE, REASONS
from tests.support.root import ROOT


def test_every_reason_has_a_meaning_and_the_rules_bring_their_own():
    assert set(reasons()) == {*REASONS, *RULES, *HISTORIES}
    assert all(10 < len(reason.meaning) < 140 for reason in reasons().values())
    assert meaning_of("too_short") == "texts of fewer than `min_chars` characters"
    assert meaning_of("duplicate") == "texts that were kept or held out before, to the last character"
    assert meaning_of("empty") == REASONS["empty"].meaning
    assert meaning_of("gone_rule") == "a rule that is not installed here"


def test_no_rule_takes_a_reason_that_the_house_gives():
    assert not {*RULES, *HISTORIES} & set(REASONS) and not set(RULES) & set(HISTORIES)


def test_what_the_code_gives_as_a_reason_is_in_the_table():
    """A string that is given to a function which quarantines or drops is a reason, unless it is a sentence."""
    given = set()
    for path in (ROOT / "data_ops").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call):
                name = getattr(node.func, "attr", getattr(node.func, "id", ""))
                if name in ("quarantine", "drop", "_quarantined", "TornError"):
                    given |= {a.value for a in node.args if isinstance(a, ast.Constant) and isinstance(a.value, str)}
    given = {word for word in given if word and " " not in word}
    assert len(given) > 5 and given <= set(reasons()), given - set(reasons())
    assert {"changed_before_read", "unreadable"} <= set(QUARANTINE)
