"""Is whatever is wrong with YAML one sentence?"""

import time

import pytest

from cluster.yaml_text import load_yaml, load_yaml_documents

LAUGHS = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 12)
)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("a: [", "expected the node content"),
        ("a: 2026-13-45", "a date, number or tag in it is wrong: month must be in 1..12"),
        ("a: !!timestamp x", "a date, number or tag in it is wrong"),
        ("a: !!python/object:os.system x", "could not determine a constructor"),
        ("[" * 5000, "nested more than 100 levels deep"),
        ("&x [*x]", "an alias in it means itself"),
        ("a: " + "[" * 150 + "]" * 150, "nested more than 100 levels deep"),
        (LAUGHS, "its aliases stand for more than 1,000,000 values"),
    ],
)
def test_it_is_said_and_soon(text: str, sentence: str) -> None:
    began = time.process_time()
    with pytest.raises(ValueError, match=sentence.replace(".", r"\.")):
        load_yaml_documents(text)
    assert time.process_time() - began < 10


def test_our_settings_are_read_by_the_letter() -> None:
    words = "[no, yes, off, y, 2026-01-01, 2026-13-45, 12:30, 1:30, 0o17]"
    assert load_yaml(words) == words.strip("[]").split(", ")
    assert load_yaml("[true, False, null, ~, 7, -3, 1_000, 0x10, 1.5, 0]") == [
        True, False, None, None, 7, -3, 1000, 16, 1.5, 0,
    ]  # fmt: skip
    assert load_yaml("010") == "010" and load_yaml_documents("[no, 010]") == [[False, 8]], "others read by YAML 1.1"
    for text, sentence in (
        ("a: 1\n---\nb: 2\n", "2 documents"),
        ("a: 1\nb: {c: 1,\n c: 2}", "the key 'c' stands twice, in lines 2 and 3; keep one"),
        ("s: {x: 1}\nt: {}\ns: {y: 2}", "the key 's' stands twice, in lines 1 and 3"),
    ):
        with pytest.raises(ValueError, match=sentence):
            load_yaml(text)


def test_what_a_merge_brings_may_be_said_again() -> None:
    assert load_yaml("a: &a {x: 1, y: 2}\nb:\n  <<: *a\n  y: 3\nc: {<<: [*a, {z: 1}], x: 5}\n") == {
        "a": {"x": 1, "y": 2},
        "b": {"x": 1, "y": 3},
        "c": {"x": 5, "y": 2, "z": 1},
    }


def test_what_is_right_is_read() -> None:
    assert load_yaml("a: &x [1]\nb: *x\n") == {"a": [1], "b": [1]}
    assert load_yaml(" \n") is None and load_yaml("# nothing\n") is None
    assert load_yaml_documents("a: 1\n---\nb: 2\n") == [{"a": 1}, {"b": 2}]
