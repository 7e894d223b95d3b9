"""Is a damaged file of JSON state told with its name and its mend, whatever became of it?"""

import json
from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cluster.storage.seal import DamagedError, seal, unseal
from cluster.storage.state import publish_json, read_json, write_json
from cluster.storage.store import Store

JSON = st.dictionaries(st.text(max_size=5), st.integers() | st.text(max_size=5) | st.lists(st.booleans()), max_size=4)


@dataclass(frozen=True)
class Stand:
    """Some state."""

    run: str
    step: int


@pytest.fixture
def store(tmp_path):
    return Store.open(str(tmp_path))


def test_state_comes_back_as_it_was_written(store):
    write_json(store, "a.json", Stand("news", 3))
    assert read_json(store, "a.json", Stand) == Stand("news", 3)
    assert not publish_json(store, "a.json", Stand("other", 4))
    assert publish_json(store, "b.json", {"run": "b", "step": 1, "of": "tomorrow"})
    assert read_json(store, "b.json", Stand) == Stand("b", 1)


def test_what_is_absent_is_not_damaged(store):
    with pytest.raises(FileNotFoundError):
        read_json(store, "a.json", Stand)


def test_a_file_of_an_older_version_is_read_without_a_digest(store):
    store.write("a.json", b'{"run": "news", "step": 3}')
    assert read_json(store, "a.json", Stand) == Stand("news", 3)


@pytest.mark.parametrize(
    "content",
    [b"", b"{}", b"[]", b"null", b"[1, 2]", b'{"run": "a"', b'{"run": 3, "step": 3}', b"\xff\xfe", b"[" * 9000],
)
def test_what_is_no_such_state_is_named_with_its_mend(store, content):
    store.write("runs/news/a.json", content)
    with pytest.raises(DamagedError, match=r"runs/news/a\.json is damaged: .*; restore it from a copy"):
        read_json(store, "runs/news/a.json", Stand)


@pytest.mark.slow
def test_every_flipped_bit_is_noticed_or_changes_nothing(store):
    write_json(store, "a.json", Stand("news", 3))
    data, silent = store.read("a.json"), []
    for bit in range(8 * len(data)):
        flipped = bytearray(data)
        flipped[bit // 8] ^= 1 << bit % 8
        store.write("a.json", bytes(flipped))
        try:
            if read_json(store, "a.json", Stand) != Stand("news", 3):
                silent.append(bytes(flipped))
        except DamagedError as error:
            assert "a.json" in str(error)
    assert silent == []


@pytest.mark.slow
@settings(max_examples=200)
@given(JSON, st.sampled_from([None, 1, 2]), st.lists(st.integers(), max_size=2))
def test_a_seal_is_taken_off_without_a_trace(value, indent, context):
    text = json.dumps(value, indent=indent)
    sealed = seal(text, *context)
    assert json.loads(sealed) == {**value, "digest": json.loads(sealed)["digest"]}
    assert unseal(sealed, "it", *context) == text
    with pytest.raises(DamagedError, match="it is damaged"):
        unseal(sealed, "it", *context, "another place")


def test_a_digest_that_is_none_is_damage(store):
    write_json(store, "a.json", Stand("news", 3))
    text = store.read("a.json").decode()
    store.write("a.json", text.replace('"digest": "', '"digest": "!', 1).encode())
    with pytest.raises(DamagedError, match=r"a\.json is damaged"):
        read_json(store, "a.json", dict[str, object])
