"""Is whatever is wrong with YAML one sentence?"""

import time

import pytest

from cluster.yaml_text import load_yaml, load_yaml_documents

LAUGHS = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 12)
)


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
        load_yaml(text)
    assert time.process_time() - began < 10


def test_what_is_right_is_read() -> None:
    assert load_yaml("a: &x [1]\nb: *x\n") == {"a": [1], "b": [1]}
    assert load_yaml(" \n") is None and load_yaml("# nothing\n") is None
    assert load_yaml_documents("a: 1\n---\nb: 2\n") == [{"a": 1}, {"b": 2}]
