"""Is every record accounted for, whatever it holds, and are the rules what they say?"""

import itertools
import re
import unicodedata
from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_ops.curation.config import RULES, CurateConfig
from data_ops.curation.curate import Provenance, curate
from data_ops.curation.rules.rule import Rule, RuleVerdict, Texts
from data_ops.documents.document import CURATED_SCHEMA, RECORD_SCHEMA, document_id, is_held_out
from data_ops.kernels.arrays import ids_to_array
from data_ops.kernels.normalise import normalise
from data_ops.kernels.texts.character_counts import character_counts

PROSE = "The wheel turns because water falls on it, and it has done so since spring."
CODE = "def turn(wheel, water=3):\n    return [w for w in wheel.blades if w.wet(water) and not w.broken]"
MODIFIED = datetime(2026, 3, 1, tzinfo=UTC)
FROM = Provenance("news", "a.jsonl", 2.0, MODIFIED.timestamp(), MODIFIED.timestamp() + 60)
TEXTS = st.lists(
    st.one_of(
        st.none(),
        st.sampled_from([PROSE, CODE, "", " \r\n", "é" * 30]),
        st.text(st.characters(exclude_categories=["Cs"])),
    ),
    max_size=12,
)


def records(texts: list, times: list | None = None, errors: list | None = None) -> pa.RecordBatch:
    count = len(texts)
    rows = [range(count), texts, times or [None] * count, map(str, range(count)), [9] * count, errors or [None] * count]
    rows.append([None] * count)
    columns = [pa.array(list(row), field.type) for row, field in zip(rows, RECORD_SCHEMA, strict=True)]
    return pa.RecordBatch.from_arrays(columns, schema=RECORD_SCHEMA)


def curated(
    texts: list, config: CurateConfig | None = None, times=None, errors=None, held_out_share=0.0, source=None
) -> list[dict]:
    batch = records(texts, times, errors)
    table = curate(batch, config or CurateConfig(), source or FROM, seed=0, held_out_share=held_out_share)
    assert table.schema.equals(CURATED_SCHEMA)
    table.validate(full=True)
    return table.to_pylist()


def fates(texts: list, **config) -> list[str]:
    return [row["reason"] or row["fate"] for row in curated(texts, CurateConfig(**config))]


@pytest.mark.slow
@given(TEXTS)
def test_every_record_leaves_once_with_a_fate_and_its_own_offset(texts: list):
    errors = ["bad_json" if i % 5 == 4 else None for i in range(len(texts))]
    rows = curated(texts, errors=errors, held_out_share=0.5)
    assert [row["offset"] for row in rows] == list(range(len(texts)))
    for row, error in zip(rows, errors, strict=True):
        assert row["reason"] is not None if row["fate"] in ("dropped", "quarantined") else row["reason"] is None
        assert (row["fate"] == "quarantined") == (error is not None) == (row["id"] is None)
        if row["fate"] in ("kept", "held_out"):
            assert row["id"] == document_id(row["text"]) and row["num_bytes"] == len(row["text"].encode())
        if row["fate"] == "dropped":
            assert row["text"] is None


@pytest.mark.slow
@given(TEXTS)
def test_a_text_has_the_same_fate_alone_as_in_a_batch(texts: list):
    rows = curated(texts, held_out_share=0.5)
    alone = [
        curated([text], held_out_share=0.5)[0] | {"offset": i, "external_id": str(i)} for i, text in enumerate(texts)
    ]
    assert rows == alone


def test_prose_and_source_code_are_kept_and_debris_is_dropped_by_name():
    texts = [
        PROSE,
        CODE,
        "水车转动是因为水落在上面，从春天起一直如此。它从不停止。",
        "",
        "water",
        "w" * 90,
        "1, 2, 3, 4, 57, 68; a b c " * 9,
    ]
    assert fates(texts) == ["kept"] * 3 + ["empty", "too_short", "repeated_characters", "few_letters"]
    assert fates(["w " * 99], max_chars=50) == ["too_long"]
    assert fates(["page 1234567890123 of 99999999999999"], rules=("many_digits",)) == ["many_digits"]
    assert fates(["<<>>{}[]()!!;;:: <<>>{}[]() body"], rules=("many_symbols",)) == ["many_symbols"]


def test_lengths_count_characters_not_bytes():
    assert fates(["水" * 10, "水" * 9], rules=("too_short",), min_chars=10) == ["kept", "too_short"]


def test_the_first_rule_that_drops_gives_the_reason():
    assert fates(["w" * 9], rules=("too_short", "repeated_characters")) == ["too_short"]
    assert fates(["w" * 9], rules=("repeated_characters", "too_short")) == ["repeated_characters"]
    assert fates(["w" * 9], rules=()) == ["kept"]


def test_a_held_out_document_is_marked_by_its_hash_and_still_obeys_the_rules():
    texts = [f"{PROSE} {i}" for i in range(300)] + ["w" * 99, "x" * 98]
    rows = curated(texts, held_out_share=0.3)
    ids = pa.array([row["id"] for row in rows], pa.binary(16))
    expected = np.where(is_held_out(ids_to_array(ids), 0, 0.3), "held_out", "kept").tolist()
    assert [row["fate"] for row in rows[:300]] == expected[:300] and "held_out" in expected
    assert {row["fate"] for row in curated(texts, held_out_share=1.0)[300:]} == {"dropped"}


def test_a_missing_time_becomes_the_time_of_the_file_and_is_noted():
    row = curated([PROSE])[0]
    assert row["event_time"] == MODIFIED and row["time_note"] == "missing"


@pytest.mark.parametrize(
    ("given_time", "expected", "note"),
    [
        (datetime(1969, 7, 20, tzinfo=UTC), datetime(1970, 1, 1, tzinfo=UTC), "clamped"),
        (datetime(2031, 1, 1, tzinfo=UTC), datetime(2026, 3, 2, 0, 1, tzinfo=UTC), "clamped"),
        (datetime(2026, 3, 1, 18, tzinfo=UTC), datetime(2026, 3, 1, 18, tzinfo=UTC), None),
        (datetime(1999, 1, 1, tzinfo=UTC), datetime(1999, 1, 1, tzinfo=UTC), None),
    ],
)
def test_times_outside_1970_and_a_day_after_the_arrival_are_clamped(given_time, expected, note):
    row = curated([PROSE], times=[given_time])[0]
    assert (row["event_time"], row["time_note"]) == (expected, note)


@pytest.mark.parametrize("modified_s", [0.0, 315532800.0])  # archives and images set 0, 1980 or 1985
def test_the_time_of_the_file_never_overrules_a_given_one(modified_s):
    given_time = datetime(2023, 5, 1, tzinfo=UTC)
    row = curated([PROSE], times=[given_time], source=replace(FROM, modified_s=modified_s))[0]
    assert (row["event_time"], row["time_note"]) == (given_time, None)


def test_what_a_partition_says_of_itself_may_lie_ahead_of_our_clock():
    given_time = datetime(2026, 11, 30, tzinfo=UTC)
    row = curated([PROSE], times=[given_time], source=replace(FROM, modified_s=given_time.timestamp()))[0]
    assert (row["event_time"], row["time_note"]) == (given_time, None)


def test_a_quarantined_record_passes_with_its_reason_and_sample_untouched():
    row = curated([" {oops \r\n"], errors=["bad_json"])[0]
    assert (row["fate"], row["reason"], row["text"]) == ("quarantined", "bad_json", " {oops \r\n")
    assert (row["id"], row["num_bytes"], row["event_time"], row["time_note"]) == (None, 0, None, None)


def test_what_the_caller_says_stands_in_every_row():
    row = curated([PROSE])[0]
    assert (row["source"], row["partition"], row["weight"], row["external_id"]) == ("news", "a.jsonl", 2.0, "0")
    assert row["arrived"].timestamp() == FROM.arrived_s


def test_a_rewriting_rule_changes_the_text_but_not_the_id(monkeypatch: pytest.MonkeyPatch):
    class Shout(Rule):
        """Rewrite texts in capitals."""

        def judge(self, texts: Texts) -> RuleVerdict:
            return RuleVerdict(np.zeros(len(texts), dtype=bool), pa.compute.utf8_upper(texts.text))

    monkeypatch.setitem(RULES.own, "shout", Shout)
    rows = curated(["", PROSE, "w" * 99, "x"], CurateConfig(rules=("repeated_characters", "shout", "too_short")))
    assert [row["reason"] for row in rows] == ["empty", None, "repeated_characters", "too_short"]
    assert rows[1]["text"] == PROSE.upper() and rows[1]["id"] == document_id(PROSE)


def test_no_records_give_an_empty_table():
    assert curated([]) == []


def plainly_normalised(text: str) -> str:
    text = text.replace("\r\n", "\n").replace("\x1f", " ")
    text = "".join("\n" if c in "\r\v\f\x1c\x1d\x1e\x85" else c for c in text)
    text = "".join(c for c in text if c in "\n\t\0\x03\x04\x07\x17\x19\x1a" or unicodedata.category(c) != "Cc")
    ends = r"[\0\x03\x04\x07\x17\x19\x1a]+"
    text = re.sub(ends, "", re.sub(rf"(?<=[^ \t\n]){ends}", " ", text.strip(" \t\n\0\x03\x04\x07\x17\x19\x1a")))
    text = "\n".join(line.rstrip(" \t") for line in text.split("\n")).strip(" \t\n")
    return unicodedata.normalize("NFC", text)


MESSY = st.text(
    st.one_of(
        st.sampled_from(" \t\r\n\0\v\f\x1a\x1c\x1f\x7f\x85\xa0ae\u0301\u2126"), st.characters(exclude_categories=["Cs"])
    )
)


@given(st.lists(MESSY, max_size=5), st.integers(0, 2))
@settings(max_examples=150)
def test_normalising_a_batch_is_the_plain_way_for_each_text(texts: list[str], skip: int):
    once = normalise(pa.array(texts, pa.string()).slice(skip))
    once.validate(full=True)
    assert once.to_pylist() == [plainly_normalised(text) for text in texts[skip:]]
    assert normalise(once).equals(once)


@given(st.lists(st.text(st.characters(codec="ascii")), max_size=5))
def test_ascii_characters_are_counted_by_kind(texts: list[str]):
    counts = character_counts(pa.array(texts, pa.string()))
    for text, (letters, digits, repeated, visible) in zip(texts, counts.T, strict=True):
        seen = [c for c in text if ord(c) > 32]
        assert (
            visible == len(seen)
            and letters == sum(c.isalpha() for c in seen)
            and digits == sum(c.isdigit() for c in seen)
        )
        assert repeated == sum(a == b and ord(b) > 32 for a, b in itertools.pairwise(text))


@pytest.mark.parametrize(
    ("text", "expected"),
    [("水水a1", (3, 1, 1, 4)), ("éß", (2, 0, 0, 2)), ("🙂🙂 —", (0, 0, 1, 3)), ("«ж»", (1, 0, 0, 3))],
)
def test_characters_beyond_ascii_are_letters_but_for_symbols(text: str, expected: tuple[int, ...]):
    assert tuple(character_counts(pa.array(["x", text]).slice(1))[:, 0]) == expected
