"""Are rules chosen by name or with settings of their own, and is a mistake one sentence?"""

import pytest
from pydantic import ValidationError

from data_ops.curation.config import DEFAULT, RULES, CurateConfig
from tests.support.packages import forget, install

STRANGER = '''
from data_ops.curation.rules.rule import Rule, Texts, RuleVerdict
import pyarrow.compute as pc

class NoShouting(Rule):
    """Drop texts in capitals."""
    max_chars: int = 7

    def judge(self, texts: Texts) -> RuleVerdict:
        return RuleVerdict(pc.utf8_is_upper(texts.text).to_numpy(zero_copy_only=False))
'''


def test_a_name_takes_the_flat_keys_and_an_entry_its_own():
    config = CurateConfig(rules=("too_long", {"kind": "too_short", "min_chars": 50}), min_chars=7, max_chars=9)
    assert config.chain == {"too_long": RULES["too_long"](max_chars=9), "too_short": RULES["too_short"](min_chars=50)}
    assert CurateConfig(rules=({"kind": "too_short"},), min_chars=7).chain["too_short"] == RULES["too_short"](
        min_chars=7
    )


def test_without_a_word_the_first_six_apply_with_the_settings_of_their_own():
    assert CurateConfig().chain == {name: RULES[name]() for name in DEFAULT}


def test_the_keys_of_before_are_written_as_before():
    assert CurateConfig(rules=("too_short",), min_chars=20).model_dump(mode="json") == {
        "rules": ["too_short"],
        "histories": [],
        "min_chars": 20,
        "max_chars": 2_000_000,
        "min_letter_share": 0.3,
        "max_digit_share": 0.5,
        "max_symbol_share": 0.5,
        "max_repeated_char_share": 0.5,
    }


@pytest.mark.parametrize(
    ("rules", "said"),
    [
        (("to_short",), "there is no rule 'to_short'; did you mean 'too_short'"),
        (({"kind": "to_short"},), "did you mean 'too_short'"),
        (("too_long", "too_long"), "names a rule twice"),
        (("too_long", {"kind": "too_long", "max_chars": 5}), "names a rule twice"),
        (({"min_chars": 5},), "has no kind; write"),
        (({"kind": "too_short", "min_char": 5},), r"rule too_short has no key 'min_char'; use some of \['min_chars'\]"),
        (({"kind": "contaminated"},), "rule contaminated has no files; give it: Benchmarks"),
        (({"kind": "c4", "sources": "web"},), "rule c4 has sources=web; name some of the sources, as a list"),
        (({"kind": "too_short", "min_chars": -1},), "rule too_short has min_chars=-1: Input should be greater"),
    ],
)
def test_a_mistake_is_one_sentence_with_the_mend(rules: tuple, said: str):
    with pytest.raises(ValidationError, match=said):
        CurateConfig(rules=rules)


def test_a_rule_of_an_installed_package_is_chosen_by_name_and_applies_to_nobody_else(tmp_path, monkeypatch):
    before = CurateConfig()
    install(tmp_path, monkeypatch, {"headrace.rules": {"no_shouting": "shouting:NoShouting"}}, shouting=STRANGER)
    try:
        assert CurateConfig() == before and "no_shouting" not in CurateConfig().chain
        config = CurateConfig(rules=("too_short", "no_shouting"))
        assert CurateConfig.model_validate_json(config.model_dump_json()).chain == config.chain
        assert config.chain["no_shouting"].max_chars == 7, "the flat keys are of our own rules"
    finally:
        forget()


def test_what_is_no_rule_is_refused_with_its_package(tmp_path, monkeypatch):
    install(tmp_path, monkeypatch, {"headrace.rules": {"no_shouting": "shouting:STRANGER"}}, shouting="STRANGER = 5")
    try:
        with pytest.raises(ValidationError, match=r"stranger0 1\.0 is 5, not a subclass of data_ops\.curation\.rules"):
            CurateConfig(rules=("no_shouting",))
    finally:
        forget()
