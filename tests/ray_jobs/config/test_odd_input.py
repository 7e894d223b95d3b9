"""Whatever stands in a file or an override: a configuration, or a sentence with the file or the key?"""

import re
import warnings
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ray_jobs.config.reading import parse_override, read_config
from ray_jobs.outcome import ConfigError


def refused(*overrides: str, file: str = "") -> str:
    with pytest.raises(ConfigError) as caught:
        read_config([file] if file else [], overrides)
    return str(caught.value)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("override", "sentence"),
    [
        ("seed=2026-13-45", "seed='2026-13-45': input should be a valid integer"),
        ("seed=\udce9", "seed="),
        ("seed=true", "seed: true is no number; write the number"),
        ("held_out=false", "held_out: false is no number; write the number"),
        ("optim.lr=!!timestamp x", "optim.lr=!!timestamp x is neither"),
        ("seed=!!int x", "seed=!!int x is neither"),
        ("name=" + "[" * 5000, "neither YAML nor a Python literal"),
        ("round=" + "{a: " * 3000, "neither YAML nor a Python literal"),
    ],
)
def test_an_override_that_is_no_value_is_named(override: str, sentence: str) -> None:
    said = refused(override)
    assert said.startswith(override.partition("=")[0]) and sentence in said, said[:300]


@pytest.mark.timeout(60)
def test_a_range_of_workers_without_end_is_not_walked() -> None:
    assert read_config([], ["engine.workers=[1, 99999999999999]"]).engine.most == 99999999999999


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"name: caf\xe9\n", "is not UTF-8 (byte 9: "),
        (b"\xff\xfen\x00a\x00", "is not UTF-8 (byte 0: "),
        (b"seed: !!timestamp 2026-13-45\n", "a date, number or tag in it is wrong: month must be in 1..12"),
        (b"name: \x00\n", "is not valid YAML: "),
        (b"a: &x {b: *x}\n", "a"),
    ],
)
def test_a_file_that_is_no_configuration_is_named(tmp_path: Path, content: bytes, sentence: str) -> None:
    path = tmp_path / "run.yaml"
    path.write_bytes(content)
    said = refused(file=str(path))
    assert sentence in said, said


def test_a_byte_order_mark_is_none_of_the_first_keys(tmp_path: Path) -> None:
    path = tmp_path / "run.yaml"
    path.write_bytes("\ufeffseed: 7\n".encode())
    assert read_config([str(path)]).seed == 7


def test_python_is_not_heard_about_what_is_no_python() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert parse_override("name=1if") == ("name", "1if")
        assert parse_override(r"name='\d'") == ("name", r"\d")


odd = st.one_of(
    st.text(max_size=30),
    st.text(st.characters(codec="utf-8") | st.sampled_from("[]{}&*!|>'\"%@`:,-?0123456789eE.xob_~ \n\t\udc80\x00")),
)


def test_words_that_yaml_takes_for_something_else_are_words_or_told(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text("name: no\nseed: 010\nsources: {on: {path: /x, text: yes, time: 2026-01-01, wait: yes}}\n")
    config = read_config([str(path)])
    assert (config.name, config.seed) == ("no", 10)
    source = config.sources["on"]
    assert (source.text, source.time, source.waits) == ("yes", "2026-01-01", True)
    for text, sentence in (
        ("name: 1.10\n", "name=1.1: input should be a valid string; put it in quotes"),
        ("name:\n", "name=None: input should be a valid string; give it a value"),
        ("sources: {a: {path: x}}\nseed: 1\nsources: {b: {path: y}}\n", "'sources' stands twice, in lines 1 and 3"),
        ("seed: 1\n---\nseed: 2\n", "2 documents"),
    ):
        path.write_text(text)
        with pytest.raises(ConfigError, match=re.escape(sentence)):
            read_config([str(path)])


@pytest.mark.slow
@given(st.sampled_from(["seed", "optim.lr", "sources.a", "sources.a.path", "name", "engine.workers", "x"]), odd)
@settings(max_examples=300, deadline=None)
def test_any_override_is_a_configuration_or_a_sentence(key: str, value: str) -> None:
    try:
        read_config([], [f"{key}={value}"])
    except ConfigError as error:
        assert str(error)


@pytest.mark.slow
@given(st.binary(max_size=60) | odd.map(lambda text: text.encode("utf-8", "surrogatepass")))
@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_file_is_a_configuration_or_a_sentence(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "any.yaml"
    path.write_bytes(content)
    try:
        read_config([str(path)])
    except ConfigError as error:
        assert str(error)


def test_a_key_that_is_no_utf_8_is_refused() -> None:
    assert "is not UTF-8" in refused("sources.\udc85.path=a")


def test_a_home_that_nobody_has_is_a_name_like_any_other() -> None:
    assert "~0" in read_config([], ["sources.a.path=~0"]).sources["a"].describe()
