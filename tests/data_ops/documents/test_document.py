"""Are names of documents stable, and is held-out membership a fair function of them?"""

import numpy as np
import pyarrow as pa
import pytest
import xxhash
from hypothesis import given
from hypothesis import strategies as st

from data_ops.documents.document import (
    CURATED_SCHEMA,
    DOCUMENT_SCHEMA,
    document_id,
    document_ids,
    is_held_out,
    sample_of,
)
from data_ops.kernels.arrays import array_to_ids, ids_to_array, string_buffers


def random_ids(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 2**64, (count, 2), dtype=np.uint64)


def test_an_id_is_the_big_endian_xxh3_digest_of_the_utf8_bytes():
    assert document_id("naïve") == xxhash.xxh3_128("naïve".encode()).digest()
    assert len(document_id("")) == 16


@pytest.mark.slow
@given(st.lists(st.one_of(st.none(), st.text()), max_size=20), st.integers(0, 5))
def test_many_ids_at_once_are_the_ids_of_each(texts: list[str | None], skip: int):
    texts = [t if t is None else t.encode("utf-8", "ignore").decode() for t in texts]
    array = pa.array(texts, pa.string()).slice(skip)
    expected = [None if t is None else document_id(t) for t in texts[skip:]]
    assert document_ids(array).to_pylist() == expected
    assert document_ids(pa.chunked_array([array, array])).to_pylist() == expected * 2


def test_large_strings_have_the_same_ids():
    assert document_ids(pa.array(["a", "b"], pa.large_string())).equals(document_ids(pa.array(["a", "b"])))


@given(st.lists(st.binary(min_size=16, max_size=16), max_size=20), st.integers(0, 5))
def test_ids_survive_the_way_to_words_and_back(ids: list[bytes], skip: int):
    array = pa.array(ids, pa.binary(16)).slice(skip)
    words = ids_to_array(array)
    assert words.shape == (len(array), 2) and words.dtype == np.uint64
    assert array_to_ids(words).to_pylist() == ids[skip:]
    assert [int(h) << 64 | int(low) for h, low in words] == [int.from_bytes(i, "big") for i in ids[skip:]]


def test_null_ids_are_refused_by_number():
    with pytest.raises(ValueError, match="1 of 2 ids are null"):
        ids_to_array(pa.array([b"0" * 16, None], pa.binary(16)))


def test_ids_of_the_wrong_shape_are_refused():
    with pytest.raises(ValueError, match=r"\(3,\)"):
        array_to_ids(np.zeros(3, dtype=np.uint64))


@pytest.mark.parametrize("share", [0.0, 0.01, 0.25, 1.0])
def test_about_the_asked_share_is_held_out(share: float):
    chosen = is_held_out(random_ids(200_000), seed=7, share=share).mean()
    assert abs(chosen - share) <= 5 * (share * (1 - share) / 200_000) ** 0.5  # five standard deviations


def test_holding_out_depends_on_each_id_and_the_seed_alone():
    ids = random_ids(10_000)
    whole = is_held_out(ids, seed=3, share=0.2)
    order = np.random.default_rng(1).permutation(len(ids))
    assert (is_held_out(ids[order], seed=3, share=0.2) == whole[order]).all()
    assert (is_held_out(ids[17:18], seed=3, share=0.2) == whole[17:18]).all()
    other = is_held_out(ids, seed=4, share=0.2)
    assert abs((other & whole).mean() - 0.04) < 0.01  # independent: 0.2 squared


def test_a_larger_share_holds_out_a_superset():
    ids = random_ids(10_000)
    assert (is_held_out(ids, 0, 0.5) | ~is_held_out(ids, 0, 0.1)).all()


def test_both_halves_of_an_id_decide():
    ids = random_ids(20_000)
    for column in (0, 1):
        other = ids.copy()
        other[:, column] += np.uint64(1)
        assert (is_held_out(ids, 0, 0.5) != is_held_out(other, 0, 0.5)).mean() > 0.45


def test_a_share_beyond_one_is_refused():
    with pytest.raises(ValueError, match=r"held_out_share=1\.5"):
        is_held_out(random_ids(1), 0, 1.5)


def test_a_sample_is_short_printable_and_never_the_raw_bytes():
    sample = sample_of(b"\x00\xff\x1b[31m" * 100)
    assert len(sample) <= 200 and sample.isprintable() and sample.startswith("\\x00\\xff")
    assert sample_of("\ud800").isascii()


def test_string_buffers_respect_slices():
    offsets, data = string_buffers(pa.array(["ab", "cde", "f"]).slice(1))
    assert bytes(data[offsets[0] : offsets[-1]]) == b"cdef" and np.diff(offsets).tolist() == [3, 1]


def test_curated_rows_are_documents_without_what_only_a_window_knows():
    assert set(CURATED_SCHEMA.names) < set(DOCUMENT_SCHEMA.names)
    assert not {"window", "position", "tokens"} & set(CURATED_SCHEMA.names)
