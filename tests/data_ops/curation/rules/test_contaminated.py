"""Is a text found that holds what a benchmark asks, and no other?"""

import json
import re
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_ops.curation.rules.contaminated import Contaminated
from data_ops.kernels.texts.overlap import Overlap
from tests.data_ops.curation.rules.test_rule import texts_of

QUESTION = "Which of these wheels turns when the water of the upper pond falls on it in a dry summer?"
TEXT = st.lists(st.sampled_from(["water", "wheel", "Mill", "on", "水", "\n", "-", "."]), max_size=30).map(" ".join)


def drops(files: list[Path], text: str, **more: object) -> bool:
    rule = Contaminated(files=tuple(map(str, files)), **more)
    return bool(rule.judge(texts_of([text])).drop[0])


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.txt", QUESTION),
        ("a.json", json.dumps([{"question": QUESTION, "choices": ["a", "b"], "answer": 1}])),
        ("a.jsonl", '{"id": 1}\n\n' + json.dumps({"turns": [{"content": QUESTION}]}) + "\n"),
    ],
)
def test_a_question_is_found_in_any_file_whatever_its_case_and_marks(tmp_path: Path, name: str, content: str) -> None:
    file = tmp_path / name
    file.write_text(content)
    shouted = re.sub(r"\W+", "\n- ", QUESTION.upper())
    assert drops([file], "They were asked: " + shouted + " and so on.")
    part = " ".join(QUESTION.split()[:12])
    assert not drops([file], part) and drops([file], part, words=12)
    assert not drops([file], " ".join(reversed(QUESTION.split())))


@given(st.lists(TEXT, max_size=4), st.lists(TEXT, max_size=4), st.integers(2, 5))
@settings(max_examples=80, deadline=None)
def test_equals_plain_python(benchmarks: list[str], texts: list[str], num_words: int) -> None:
    def sequences(text: str) -> set[tuple[str, ...]]:
        words = re.findall(r"水|[a-z]+", text.lower())
        return {tuple(words[i : i + num_words]) for i in range(len(words) - num_words + 1)}

    known = set().union(*map(sequences, benchmarks))
    found = Overlap(benchmarks, num_words).with_any(pa.array(texts, pa.string()))
    assert found.tolist() == [bool(sequences(text) & known) for text in texts]


def test_a_benchmark_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"the benchmark .*none\.txt of the rule contaminated cannot be read"):
        drops([tmp_path / "none.txt"], QUESTION)
    (tmp_path / "bad.json").write_text("{")
    with pytest.raises(ValueError, match=r"the benchmark .*bad\.json of the rule contaminated cannot be read"):
        drops([tmp_path / "bad.json"], QUESTION)
