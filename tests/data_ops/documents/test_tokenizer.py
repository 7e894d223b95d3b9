"""Does every text survive tokens and back, and can no text forge the document token?"""

import json
import pickle
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from tokenizers import AddedToken, models, pre_tokenizers, processors
from tokenizers import Tokenizer as Backend

from data_ops.documents.config import TokenizerConfig
from data_ops.documents.tokenizer import DOCUMENT, Tokenizer, byte_tokenizer, load_tokenizer, train_bpe

CORPUS = [
    "the wheel turns because the water falls",
    "water in, wheel out; 1234 12 34",
    "def water(self): return self.wheel",
] * 5
BYTES, BPE = byte_tokenizer(), train_bpe(CORPUS, 300)
TEXTS = st.text(st.characters(exclude_categories=["Cs"]))
both = pytest.mark.parametrize("tokenizer", [BYTES, BPE], ids=["bytes", "bpe"])


@both
@given(st.lists(TEXTS, max_size=6))
@settings(max_examples=100)
def test_decoding_gives_back_every_text_byte_for_byte(tokenizer: Tokenizer, texts: list[str]):
    assert [tokenizer.decode(ids) for ids in tokenizer.encode(texts).to_pylist()] == texts


@both
@pytest.mark.parametrize("text", [DOCUMENT, f"a{DOCUMENT}b", DOCUMENT * 3, f" {DOCUMENT}\n", "<|document|"])
def test_a_text_that_spells_the_document_token_does_not_produce_it(tokenizer: Tokenizer, text: str):
    (ids,) = tokenizer.encode([text]).to_pylist()
    assert tokenizer.document_token not in ids
    assert tokenizer.decode(ids) == text
    restored = Tokenizer.from_json(tokenizer.to_json())
    assert restored.encode([text]).to_pylist() == [ids]


@both
def test_a_tokenizer_is_the_same_after_json_and_pickle(tokenizer: Tokenizer):
    for copy in (Tokenizer.from_json(tokenizer.to_json()), pickle.loads(pickle.dumps(tokenizer))):  # noqa: S301
        assert copy.fingerprint == tokenizer.fingerprint
        assert (copy.vocab_size, copy.document_token) == (tokenizer.vocab_size, tokenizer.document_token)
        assert copy.encode(CORPUS).equals(tokenizer.encode(CORPUS))


@both
def test_slices_nulls_and_chunks_are_encoded_as_their_rows(tokenizer: Tokenizer):
    texts = pa.array(["skipped", "water", None, "", "wheel"]).slice(1)
    expected = [tokenizer.encode([t]).to_pylist()[0] if t is not None else None for t in texts.to_pylist()]
    encoded = tokenizer.encode(texts)
    assert encoded.to_pylist() == expected and encoded.type == pa.list_(pa.int32())
    assert tokenizer.encode(pa.chunked_array([texts, texts])).to_pylist() == expected * 2
    assert tokenizer.encode([]).to_pylist() == [] and tokenizer.encode(pa.array([None], pa.string())).null_count == 1


def test_bytes_are_their_own_ids_and_256_separates_documents():
    text = bytes(range(128)).decode() + "é漢🙂"
    assert BYTES.encode([text]).to_pylist() == [list(text.encode())]
    assert (BYTES.document_token, BYTES.vocab_size) == (256, 257)


def test_the_fast_path_of_bytes_agrees_with_the_backend():
    text = "héllo\n\n  wörld 漢字 🙂"
    assert BYTES._backend.encode(text).ids == BYTES.encode([text]).to_pylist()[0]


def test_many_texts_are_encoded_as_each_alone(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("data_ops.documents.tokenizer.CALL_BYTES", 50)
    assert BPE.encode(CORPUS).to_pylist() == [BPE.encode([t]).to_pylist()[0] for t in CORPUS]


def test_training_is_the_same_whatever_the_order_of_texts():
    assert train_bpe(reversed(CORPUS), 300).fingerprint == BPE.fingerprint
    assert train_bpe(CORPUS[:4], 300).fingerprint != BPE.fingerprint


def test_trained_vocabulary_counts_bytes_and_the_document_token():
    assert BPE.vocab_size == 300 and 0 <= BPE.document_token < 300
    assert train_bpe([], 300).vocab_size == 257
    assert len(BPE.encode(CORPUS).values) < len(BYTES.encode(CORPUS).values) / 2


def test_a_vocabulary_without_room_for_bytes_is_refused():
    with pytest.raises(ValueError, match="vocabulary=256"):
        train_bpe(CORPUS, 256)


def foreign(separator: str | None) -> Backend:
    backend = Backend(models.WordLevel({"water": 0, "wheel": 1, "[UNK]": 2}, unk_token="[UNK]"))
    backend.pre_tokenizer = pre_tokenizers.Whitespace()
    if separator:
        backend.add_special_tokens([AddedToken("<s>", special=True), AddedToken(separator, special=True)])
        backend.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 3)])
    backend.enable_truncation(2)
    return backend


def test_a_given_tokenizer_keeps_its_own_separator_and_adds_nothing_around_texts(tmp_path: Path):
    path = tmp_path / "tokenizer.json"
    foreign("<|endoftext|>").save(str(path))
    tokenizer = load_tokenizer(str(path))
    assert (tokenizer.document_token, tokenizer.vocab_size) == (4, 5)
    assert tokenizer.encode(["water wheel water"]).to_pylist() == [[0, 1, 0]]
    assert 4 not in tokenizer.encode(["water <|endoftext|>"]).to_pylist()[0]


def test_a_given_tokenizer_without_a_separator_gets_one():
    tokenizer = Tokenizer.from_json(foreign(None).to_str())
    assert (tokenizer.document_token, tokenizer.vocab_size) == (3, 4)
    assert Tokenizer.from_json(tokenizer.to_json()).fingerprint == tokenizer.fingerprint


def test_document_tokens_are_left_out_of_decoded_text():
    ids = BYTES.encode(["ab"]).to_pylist()[0]
    assert BYTES.decode(np.array([256, *ids, 256])) == "ab"


def test_a_fingerprint_does_not_depend_on_how_the_json_is_spelled():
    assert Tokenizer.from_json(json.dumps(json.loads(BPE.to_json()), indent=3)).fingerprint == BPE.fingerprint


def test_what_is_no_tokenizer_is_named(tmp_path: Path):
    with pytest.raises(ValueError, match="not a tokenizer"):
        Tokenizer.from_json('{"not": "one"}')
    with pytest.raises(ValueError, match="cannot be read"):
        load_tokenizer(str(tmp_path / "absent.json"))


@pytest.mark.parametrize("settings", [{"kind": "file"}, {"kind": "bpe", "path": "x.json"}])
def test_a_path_belongs_to_kind_file_and_to_no_other(settings: dict[str, str]):
    with pytest.raises(ValidationError, match=r"tokenizer\.path"):
        TokenizerConfig(**settings)
