"""Does every rule, ours or a stranger's, keep the promises that the loop rests on?"""

import itertools
import pickle
from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from data_ops.curation.config import DEFAULT, RULES, CurateConfig
from data_ops.curation.curate import Provenance, curate
from data_ops.curation.reasons import meaning_of, reasons
from data_ops.curation.rules.rule import Rule, RuleVerdict, Texts
from data_ops.documents.document import CURATED_SCHEMA, RECORD_SCHEMA, TIME, document_ids
from data_ops.kernels.normalise import normalise

PROSE = "The wheel turns because water falls on it, and it has done so since spring."
CODE = "def turn(wheel, water=3):\n    return [w for w in wheel.blades if w.wet(water) and not w.broken]"
ODD = [
    *(PROSE, CODE, "w" * 99, "42 " * 40 + "x", "<>{}[]#$%" * 9, "水车" * 40, "x", "e\u0301" * 3, "\t\n" + PROSE),
    *(
        "\u202e" * 30,
        "\U0001f642" * 50,
        "\ufeff" + PROSE,
        "a" * 70_000,
        "0",
        "\u0000nul",
        "-" * 21,
        "ſß" * 15,
        "1e9" * 9,
    ),
]
NAMES = (*RULES, "no_secrets")


#: Of rules that do nothing without them.
SETTINGS: dict[str, dict[str, object]] = {"contaminated": {"files": [__file__]}}


def made(name: str) -> Rule:
    return RULES[name](**SETTINGS.get(name, {}))


class NoSecrets(Rule):
    """Drop texts of one source that hold a word, and rewrite the others in small letters."""

    source: str = "mail"
    word: str = "secret"

    def judge(self, texts: Texts) -> RuleVerdict:
        holds = pc.match_substring(texts.text, self.word).to_numpy(zero_copy_only=False)
        mail = pc.equal(texts.source, self.source).to_numpy(zero_copy_only=False)
        return RuleVerdict(holds & mail, pc.utf8_lower(texts.text))


@pytest.fixture(autouse=True)
def _strangers(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A rule that a stranger added by one line joins all others."""
    monkeypatch.setitem(RULES.own, "no_secrets", NoSecrets)
    yield


def texts_of(plain: list[str], source: str = "news") -> Texts:
    normal = normalise(pa.array(plain, pa.string()))
    normal = normal.filter(pc.greater(pc.binary_length(normal), 0))
    count = len(normal)
    times = pa.array(range(count), pa.int64()).cast(TIME)
    names = pa.array([None if i % 2 else str(i) for i in range(count)], pa.string())
    return Texts(normal, document_ids(normal), pa.repeat(pa.scalar(source), count), names, times)


def pieces(texts: Texts, *bounds: int) -> list[Texts]:
    """Cut a batch, also into arrays that are views into larger ones."""
    cuts = [0, *bounds, len(texts)]
    rows = [(a, b - a) for a, b in itertools.pairwise(cuts)]
    return [Texts(*(getattr(texts, n).slice(a, k) for n in Texts.__dataclass_fields__)) for a, k in rows]


def outcome(verdict: RuleVerdict, texts: Texts) -> list[tuple[bool, str]]:
    text = texts.text if verdict.text is None else verdict.text
    return list(zip(verdict.drop.tolist(), text.to_pylist(), strict=True))


@pytest.mark.parametrize("name", [*DEFAULT, "no_secrets"])
def test_a_rule_that_applies_unasked_keeps_prose_and_code(name: str):
    assert not made(name).judge(texts_of([PROSE, CODE])).drop.any()


@pytest.mark.parametrize("name", NAMES)
class TestEveryRule:
    def test_is_a_frozen_configuration_that_comes_back_from_json(self, name: str):
        config = CurateConfig(rules=({"kind": name, **SETTINGS.get(name, {})},))
        assert CurateConfig.model_validate_json(config.model_dump_json()).chain == config.chain == {name: made(name)}
        with pytest.raises(ValueError, match=f"the rule {name} has no key 'nonsense'"):
            CurateConfig(rules=({"kind": name, "nonsense": 1, **SETTINGS.get(name, {})},))
        with pytest.raises(ValueError, match="frozen"):
            setattr(made(name), next(iter(RULES[name].model_fields)), 1)

    def test_never_raises_and_says_one_thing_a_document(self, name: str):
        texts = texts_of(ODD)
        verdict = made(name).judge(texts)
        assert verdict.drop.dtype == np.bool_ and verdict.drop.shape == (len(texts),)
        assert len(made(name).judge(texts.keep(np.zeros(len(texts), bool))).drop) == 0

    @pytest.mark.slow
    @given(st.lists(st.one_of(st.sampled_from(ODD), st.text(st.characters(exclude_categories=["Cs"]))), max_size=9))
    @settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
    def test_says_the_same_whatever_the_batch_and_whatever_it_said_before(self, name: str, plain: list[str]):
        texts, rule = texts_of(plain, "mail"), made(name)
        whole = outcome(rule.judge(texts), texts)
        assert outcome(rule.judge(texts), texts) == whole, "a rule is pure"
        for cut in range(len(texts) + 1):
            assert [said for part in pieces(texts, cut) for said in outcome(rule.judge(part), part)] == whole

    def test_travels_with_its_settings_alone(self, name: str):
        rule = made(name)
        before = pickle.dumps(rule)
        verdict = rule.judge(texts_of(ODD))
        assert pickle.dumps(rule) == before, "what it made for itself stays where it was made"
        again = pickle.loads(before)  # noqa: S301
        assert outcome(again.judge(texts_of(ODD)), texts_of(ODD)) == outcome(verdict, texts_of(ODD))

    def test_leaves_what_it_rewrote_as_it_is(self, name: str):
        verdict = made(name).judge(texts_of(ODD))
        if verdict.text is not None:
            assert normalise(verdict.text).equals(verdict.text)

    def test_has_a_reason_with_a_meaning(self, name: str):
        assert (RULES[name].__doc__ or "").startswith(("Drop ", "Rewrite "))
        assert reasons()[name].fate == "dropped" and 10 < len(meaning_of(name)) < 120 and meaning_of(name)[0].islower()

    def test_gives_its_name_as_the_reason_and_every_record_is_counted(self, name: str):
        count = len(ODD)
        columns = [range(count), ODD, [None] * count, [None] * count, [9] * count, [None] * count, [None] * count]
        arrays = [pa.array(list(c), f.type) for c, f in zip(columns, RECORD_SCHEMA, strict=True)]
        batch = pa.RecordBatch.from_arrays(arrays, schema=RECORD_SCHEMA)
        config = CurateConfig(rules=({"kind": name, **SETTINGS.get(name, {})},))
        rows = curate(batch, config, Provenance("mail", "a", 1.0, 0.0, 0.0), seed=0, held_out_share=0.0)
        assert rows.schema.equals(CURATED_SCHEMA) and rows.num_rows == count
        assert {row["fate"] for row in rows.to_pylist()} <= {"kept", "dropped"}
        assert {row["reason"] for row in rows.to_pylist()} <= {None, "empty", name}


def test_a_rule_sees_metadata_and_its_own_settings():
    texts = texts_of(["a SECRET", "a secret", "a word"], "mail")
    assert NoSecrets().judge(texts).drop.tolist() == [False, True, False]
    assert NoSecrets(source="news").judge(texts).drop.tolist() == [False] * 3
    assert NoSecrets(word="word").judge(texts).drop.tolist() == [False, False, True]


def test_counts_of_characters_are_taken_along_when_documents_go():
    texts, odd = texts_of(ODD), np.arange(len(texts_of(ODD))) % 2 == 1
    fresh = texts.keep(odd).measured.characters
    assert texts.measured.characters[:, odd].tolist() == fresh.tolist()
    assert texts.keep(odd).__dict__["measured"].characters.tolist() == fresh.tolist(), "counted once, not again"
    assert "measured" not in texts.rewritten(pc.utf8_upper(texts.text)).__dict__


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (RuleVerdict(np.zeros(2, bool)), r"bool\[2\] for 1 texts"),
        (RuleVerdict(np.zeros(1, np.int64)), r"int64\[1\] for 1 texts"),
        (RuleVerdict(np.zeros(1, bool), pa.array([None], pa.string())), "1 of them null"),
    ],
)
def test_an_answer_that_does_not_fit_names_the_rule(monkeypatch: pytest.MonkeyPatch, answer: RuleVerdict, said: str):
    monkeypatch.setattr(NoSecrets, "judge", lambda self, texts: answer)
    arrays = [
        pa.array([value], f.type) for value, f in zip([0, PROSE, None, None, 9, None, None], RECORD_SCHEMA, strict=True)
    ]
    batch = pa.RecordBatch.from_arrays(arrays, schema=RECORD_SCHEMA)
    with pytest.raises(ValueError, match=f"the rule no_secrets .*{said}"):
        config = CurateConfig(rules=("no_secrets",))
        curate(batch, config, Provenance("mail", "a", 1.0, 0.0, 0.0), seed=0, held_out_share=0.0)
