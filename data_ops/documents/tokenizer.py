"""How does text become tokens, and which token separates documents?

One class over Hugging Face `tokenizers`, three ways to get one: plain bytes, a byte-level BPE trained on the
first documents, or a given tokenizer.json. Text never turns into the document token, whatever it spells.
Bytes are far faster to encode (a copy), BPE makes rows about 4 times shorter; both decode byte for byte.
"""

import hashlib
import json
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from data_ops.kernels.arrays import string_buffers

# A Ray task owns one core, and threads would not survive a fork; whoever sets the variable knows better.
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

from tokenizers import AddedToken, decoders, models, pre_tokenizers, processors, trainers
from tokenizers import Tokenizer as Backend

DOCUMENT, MASK = "<|document|>", "<|mask|>"
MASKS = (MASK, "[MASK]", "<mask>")  # the special token that hides another one, in known vocabularies
#: Special tokens of known vocabularies that separate documents, the ones that end a document first.
SEPARATORS: tuple[str, ...] = (
    DOCUMENT,
    "<|endoftext|>",
    "<|end_of_text|>",
    "</s>",
    "<eos>",
    "<|eos|>",
    "[EOS]",
    "[SEP]",
)
SEPARATORS += ("<|begin_of_text|>", "<s>", "<bos>", "[BOS]", "[CLS]")
CALL_BYTES = 4 << 20  # text handed to the backend at once; its own objects take some 30 times as much


class PlacedTokens(NamedTuple):
    """Tokens int32 [n] of a text, and where in it each stands: characters [starts, ends), int64 [n]."""

    ids: npt.NDArray[np.int32]
    starts: npt.NDArray[np.int64]
    ends: npt.NDArray[np.int64]


class Tokenizer:
    """Text to token ids and back; the same JSON gives the same ids for ever (`fingerprint`)."""

    def __init__(self, backend: Backend) -> None:
        backend.no_truncation()
        backend.no_padding()
        self.document_token = _document_token(backend)
        backend.encode_special_tokens = True  # "<|document|>" in a text is spelled out, not obeyed
        self._backend = backend
        self.vocab_size = max(backend.get_vocab(with_added_tokens=True).values()) + 1
        state = json.loads(backend.to_str())
        canonical = json.dumps(state, sort_keys=True, separators=(",", ":"))
        self.fingerprint = hashlib.sha256(canonical.encode()).hexdigest()[:16]
        self._is_bytes = _spells_bytes(state)

    @classmethod
    def from_json(cls, text: str) -> "Tokenizer":
        """Restore a tokenizer from `to_json`, or from a tokenizer.json. ValueError if it is neither."""
        try:
            backend = Backend.from_str(text)
        except Exception as error:
            raise ValueError(f"{text[:60]!r} is not a tokenizer.json ({error}); save one with tokenizers") from error
        return cls(backend)

    def to_json(self) -> str:
        """Write the whole tokenizer as JSON."""
        return str(self._backend.to_str())

    def __reduce__(self) -> tuple[Any, ...]:
        return Tokenizer.from_json, (self.to_json(),)

    def encode(self, texts: pa.Array | Sequence[str]) -> pa.ListArray:
        """Encode texts as list<int32>, one list each, without the document token; null stays null."""
        if isinstance(texts, pa.ChunkedArray):
            texts = texts.combine_chunks()
        if not isinstance(texts, pa.Array):
            texts = pa.array(texts, type=pa.string())
        values, lengths = self._encode_bytes(texts) if self._is_bytes else self._encode_batch(texts)
        offsets = np.concatenate([[0], np.cumsum(lengths)])
        if offsets[-1] >= 2**31:
            raise ValueError(f"{offsets[-1]} tokens do not fit one Arrow list array; encode fewer texts at once")
        mask = texts.is_null() if texts.null_count else None
        return pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), pa.array(values, pa.int32()), mask=mask)

    @property
    def special_tokens(self) -> dict[str, int]:
        """The ids of the special tokens, by what stands for them in a template."""
        added = self._backend.get_added_tokens_decoder().items()
        return {token.content: int(index) for index, token in added if token.special}

    @property
    def mask_token(self) -> int | None:
        """The special token that hides another one; None where there is none."""
        return next((index for name, index in self.special_tokens.items() if name in MASKS), None)

    @cached_property
    def frame(self) -> tuple[int, int | None]:
        """The tokens that an encoder's text begins and ends with, as the tokenizer's own template has them.

        [CLS] and [SEP] of BERT, <s> and </s> of RoBERTa; without a template the document token, and none at the end.
        """
        encoded = self._marked.encode("a", add_special_tokens=True)
        text = [place for place, special in enumerate(encoded.special_tokens_mask) if not special]
        before, behind = encoded.ids[: text[0]], encoded.ids[text[-1] + 1 :]
        return int(before[-1]) if before else self.document_token, int(behind[0]) if behind else None

    def with_mask(self) -> "Tokenizer":
        """Return the tokenizer with a mask token, `<|mask|>` where it has none of its own."""
        if self.mask_token is not None:
            return self
        backend = Backend.from_str(self.to_json())
        backend.add_special_tokens([AddedToken(MASK, special=True, normalized=False)])
        if backend.encode("a").ids == backend.encode("a", add_special_tokens=False).ids:  # it has no template yet
            begins = next(name for name, index in self.special_tokens.items() if index == self.document_token)
            backend.post_processor = processors.TemplateProcessing(
                single=[begins, "$A"], special_tokens=[(begins, self.document_token)]
            )
        return Tokenizer(backend)

    def encode_marked(self, text: str) -> list[int]:
        """Encode a text of ours, such as a chat template's, in which special tokens are obeyed."""
        return list(self._marked.encode(text, add_special_tokens=False).ids)

    def encode_placed(self, text: str) -> PlacedTokens:
        """Encode such a text, and say where in it each token stands; the bytes of one character stand in one place."""
        encoded = self._marked.encode(text, add_special_tokens=False)
        places = np.array(encoded.offsets, np.int64).reshape(-1, 2)
        return PlacedTokens(np.array(encoded.ids, np.int32), places[:, 0], places[:, 1])

    @cached_property
    def _marked(self) -> Backend:
        """The same tokenizer, in which special tokens are obeyed."""
        backend = Backend.from_str(self.to_json())
        backend.encode_special_tokens = False
        return backend

    def lost_share(self, texts: Iterable[str]) -> tuple[float, str]:
        """Measure which share of the visible characters does not come back, and name the ones lost most often."""
        lost: Counter[str] = Counter()
        total = 0
        for text in texts:
            there = Counter(character for character in text if not character.isspace())
            lost += there - Counter(self.decode(self.encode([text])[0].as_py()))
            total += there.total()
        return lost.total() / max(total, 1), "".join(character for character, _ in lost.most_common(8))

    def decode(self, ids: Iterable[int]) -> str:
        """Turn ids back into text; document tokens are left out. Bytes that are not UTF-8 become U+FFFD."""
        kept = [token for token in np.asarray(ids, dtype=np.int64).tolist() if token != self.document_token]
        return str(self._backend.decode(kept, skip_special_tokens=False))

    def _encode_bytes(self, texts: pa.Array) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int64]]:
        offsets, data = string_buffers(texts)
        values = np.frombuffer(data, dtype=np.uint8)[offsets[0] : offsets[-1]].astype(np.int32)
        return values, np.diff(offsets)

    def _encode_batch(self, texts: pa.Array) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int64]]:
        parts = [np.empty(0, dtype=np.int32)]
        for part in _parts(texts):
            encoded = self._backend.encode_batch_fast(part, add_special_tokens=False)
            found = [np.array(e.ids, dtype=np.int32) for e in encoded]
            parts += [
                self._spelled_out(text) if (ids == self.document_token).any() else ids
                for text, ids in zip(part, found, strict=True)
            ]
        lengths = np.array([len(p) for p in parts[1:]], dtype=np.int64)
        return np.concatenate(parts), lengths

    def _spelled_out(self, text: str) -> npt.NDArray[np.int32]:
        """Encode a text that spells the document token with a piece of the model, as `</s>` is in Unigram vocabularies.

        What such a piece covers is encoded character by character; a character that still is one is left out.
        """
        encoded, ids = self._backend.encode(text, add_special_tokens=False), []
        for token, (start, end) in zip(encoded.ids, encoded.offsets, strict=True):
            if token != self.document_token:
                ids.append(token)
                continue
            for character in text[start:end]:
                pieces = self._backend.encode(character, add_special_tokens=False).ids
                ids += [piece for piece in pieces if piece != self.document_token]
        return np.array(ids, dtype=np.int32)


def closed(lists: pa.ListArray, token: int) -> pa.ListArray:
    """Append a token to each list of int32.

    >>> closed(pa.array([[5, 6], []], pa.list_(pa.int32())), -3).to_pylist()
    [[5, 6, -3], [-3]]
    """
    offsets, values = lists.offsets.to_numpy().astype(np.int64), lists.values.to_numpy()
    values = np.insert(values[offsets[0] : offsets[-1]], offsets[1:] - offsets[0], np.int32(token))
    offsets = offsets - offsets[0] + np.arange(len(offsets))
    return pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), pa.array(values, pa.int32()))


def byte_tokenizer() -> Tokenizer:
    """Make the tokenizer whose ids 0..255 are the bytes of UTF-8 and whose document token is 256.

    >>> byte_tokenizer().encode(["héé"]).to_pylist()
    [[104, 195, 169, 195, 169]]
    """
    vocabulary = {character: byte for byte, character in enumerate(_byte_characters())}
    return Tokenizer(_with_document(_byte_level(models.BPE(vocab=vocabulary, merges=[]), use_regex=False)))


def train_bpe(texts: Iterable[str], vocabulary: int) -> Tokenizer:
    """Train a byte-level BPE (Sennrich et al. 2016; GPT-2's words and byte alphabet) on all of `texts`.

    Deterministic, also in the order of texts. `vocabulary` counts the 256 bytes and the document token;
    little text gives fewer.
    """
    if vocabulary < 257:
        raise ValueError(f"vocabulary={vocabulary} has no room for 256 bytes and the document token; use at least 257")
    backend = _byte_level(models.BPE(), use_regex=True)
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary - 1,
        min_frequency=2,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        max_token_length=64,
        show_progress=False,
    )
    backend.train_from_iterator(texts, trainer=trainer)
    return Tokenizer(_with_document(backend))


def load_tokenizer(path: str) -> Tokenizer:
    """Read a given tokenizer.json; without a known separator it gets `<|document|>` as one more token."""
    try:
        return Tokenizer.from_json(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise ValueError(f"tokenizer.path={path!r} cannot be read ({error.strerror}); give a tokenizer.json") from error


def _byte_level(model: models.BPE, use_regex: bool) -> Backend:
    backend = Backend(model)
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=use_regex)
    backend.decoder = decoders.ByteLevel()
    return backend


def _with_document(backend: Backend) -> Backend:
    backend.add_special_tokens([AddedToken(DOCUMENT, special=True, normalized=False)])
    return backend


def _document_token(backend: Backend) -> int:
    """Find the separator among the special tokens, or add one."""
    special = {token.content: index for index, token in backend.get_added_tokens_decoder().items() if token.special}
    for name in SEPARATORS:
        if name in special:
            return int(special[name])
    _with_document(backend)
    return int(backend.get_vocab(with_added_tokens=True)[DOCUMENT])


def _byte_characters() -> list[str]:
    """GPT-2's printable character of each byte 0..255 (its `bytes_to_unicode`)."""
    printable = [*range(ord("!"), ord("~") + 1), *range(0xA1, 0xAC + 1), *range(0xAE, 0xFF + 1)]
    others = iter(range(256, 512))
    return [chr(byte) if byte in printable else chr(next(others)) for byte in range(256)]


def _spells_bytes(state: dict[str, Any]) -> bool:
    """Say whether this is exactly `byte_tokenizer()`, so that encoding is a copy of the bytes."""
    model = state["model"]
    alphabet = {character: byte for byte, character in enumerate(_byte_characters())}
    plain = not model.get("merges") and model.get("vocab") == alphabet and not state.get("normalizer")
    return bool(plain and (state.get("pre_tokenizer") or {}).get("type") == "ByteLevel")


def _parts(texts: pa.Array) -> Iterator[list[str]]:
    """Cut an array into lists of about CALL_BYTES of text; a null becomes empty text."""
    offsets, _ = string_buffers(texts)
    start = 0
    while start < len(texts):
        stop = int(np.searchsorted(offsets, offsets[start] + CALL_BYTES, side="right")) - 1
        stop = min(max(stop, start + 1), len(texts))
        yield [text or "" for text in texts[start:stop].to_pylist()]
        start = stop
