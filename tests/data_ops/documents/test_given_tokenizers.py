"""Can no text forge the document token with a given tokenizer of any kind, and is what it loses measured?"""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer as Backend
from tokenizers import decoders, models, normalizers, pre_tokenizers, trainers

from data_ops.documents.tokenizer import Tokenizer, byte_tokenizer, train_bpe

TEXT = "the river turns the wheel and the stone <s>nine</s> eight coins [SEP] </s>"


def unigram() -> Backend:
    backend = Backend(models.Unigram())
    backend.pre_tokenizer, backend.decoder = pre_tokenizers.Metaspace(), decoders.Metaspace()
    special = ["<unk>", "<pad>", "</s>"]
    trainer = trainers.UnigramTrainer(vocab_size=60, special_tokens=special, unk_token="<unk>", show_progress=False)
    backend.train_from_iterator([TEXT] * 50, trainer=trainer)
    return backend


def word_piece() -> Backend:
    words = {word: i for i, word in enumerate(["[UNK]", "[SEP]", *sorted(set(TEXT.split()) - {"[SEP]"})])}
    backend = Backend(models.WordPiece(words, unk_token="[UNK]"))
    backend.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    backend.add_special_tokens(["[SEP]"])
    return backend


def word_level() -> Backend:
    backend = Backend(models.WordLevel({"<unk>": 0, "</s>": 1, "the": 2, "river": 3}, unk_token="<unk>"))
    backend.normalizer, backend.pre_tokenizer = normalizers.Lowercase(), pre_tokenizers.WhitespaceSplit()
    backend.add_special_tokens(["</s>"])
    return backend


def merged_bpe() -> Backend:
    vocab = {piece: i for i, piece in enumerate(["<", "/", "s", ">", "</", "s>", "</s>", "t"])}
    backend = Backend(models.BPE(vocab, [("<", "/"), ("s", ">"), ("</", "s>")]))
    backend.add_special_tokens(["</s>"])
    return backend


def one_character() -> Backend:
    backend = Backend(models.BPE({"¶": 0, "a": 1}, []))
    backend.add_special_tokens(["<eos>"])
    return backend


KINDS = {kind.__name__: kind for kind in (unigram, word_piece, word_level, merged_bpe, one_character)}
MADE = {name: Tokenizer(kind()) for name, kind in KINDS.items()}
SPELLED = st.lists(
    st.sampled_from(["</s>", "</S>", "[SEP]", "<", "/", "s", ">", " ", "the", "<eos>", "¶", "水"]), max_size=12
)


@pytest.mark.slow
@pytest.mark.parametrize("name", MADE)
@given(SPELLED.map("".join))
@settings(max_examples=60)
def test_no_text_forges_the_document_token_with_any_kind_of_model(name, text):
    tokenizer = MADE[name]
    alone, among_others = tokenizer.encode([text])[0].as_py(), tokenizer.encode(["the", text, "the"])[1].as_py()
    assert tokenizer.document_token not in alone and among_others == alone


def test_what_a_piece_that_spells_it_covers_is_still_there():
    tokenizer = MADE["unigram"]
    assert "nine" in tokenizer.decode(tokenizer.encode([TEXT])[0].as_py()).replace(" ", "")
    assert tokenizer.lost_share(["the wheel </s> turns"])[0] < 0.2


def test_the_share_that_does_not_come_back_is_measured_and_named():
    assert byte_tokenizer().lost_share(["wässrig 水車 😀\n"]) == (0, "")
    assert train_bpe(["the wheel turns"] * 9, 300).lost_share(["Ünicode"]) == (0, "")
    share, lost = MADE["word_level"].lost_share(["the river the 水 river"])
    assert share == pytest.approx(1 / 17) and lost == "水"
    assert MADE["word_level"].lost_share([]) == (0, "")
