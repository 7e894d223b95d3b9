"""Does a model say what it pays for labels, and whether it would have said them, as its own logits have it?"""

import numpy as np
import pytest
import torch

from cluster.rows import Rows
from models.config import ModelConfig
from models.kinds.encoder.config import EncoderConfig
from models.measures.answers import compare, likeliest_tokens
from models.measures.scoring import AskedModel

CONFIG = ModelConfig(layers=2, width=32, heads=4, row_tokens=32, init_std=0.2)
VOCAB = 40


def rows_of() -> Rows:
    """Two rows of two segments each, of which only the last labels are asked, and padding."""
    rng = np.random.default_rng(4)
    inputs = rng.integers(0, VOCAB, (2, 32), dtype=np.int32)
    segments = np.repeat([[0] * 12 + [1] * 15 + [-1] * 5], 2, 0).astype(np.int32)
    labels = np.where((segments >= 0) & (np.arange(32) % 3 > 0), rng.integers(0, VOCAB, (2, 32)), -100)
    return Rows(inputs, labels.astype(np.int32), segments)


def test_nats_are_those_of_an_evaluation_and_likeliest_is_what_the_logits_say():
    model, rows = AskedModel(CONFIG, VOCAB, 3, None), rows_of()
    for at_once in (1, 2):
        found = compare(model, rows, at_once)
        np.testing.assert_allclose(found.nats, model.evaluate(rows)[0], rtol=1e-6)
        assert not found.likeliest.any()
    with torch.no_grad():
        read = model.module.logits_of(torch.from_numpy(rows.inputs), torch.from_numpy(rows.segments))
        best = read(torch.arange(64)).argmax(-1).view(2, 32).numpy().astype(np.int32)
    labels = np.where(rows.labels == -100, -100, best)
    labels[1, 14] = (labels[1, 14] + 1) % VOCAB if labels[1, 14] >= 0 else best[1, 14]
    labels[1, 13] = (best[1, 13] + 1) % VOCAB
    likeliest = compare(model, rows._replace(labels=labels), 2).likeliest
    assert likeliest.tolist() == [[True, True], [True, False]]


def test_what_follows_is_the_likeliest_token_after_the_likeliest_until_an_end():
    model, said = AskedModel(CONFIG, VOCAB, 3, None), [5, 6]
    with torch.no_grad():
        for _ in range(6):
            inputs = torch.tensor([said])
            said.append(
                int(model.module.logits_of(inputs, torch.zeros_like(inputs))(torch.tensor([len(said) - 1])).argmax())
            )
    assert list(likeliest_tokens(model, [5, 6], 6, set())) == said[2:]
    ends = {said[5]}
    assert list(likeliest_tokens(model, [5, 6], 6, ends)) == said[2 : 2 + said[2:].index(said[5])]


def test_a_model_that_fills_masks_is_refused_with_the_mend():
    model = AskedModel(CONFIG, VOCAB, 3, None)
    model.config = EncoderConfig.model_validate({"kind": "encoder", "family": {"model_type": "bert"}})
    with pytest.raises(ValueError, match=r"a model of kind encoder does not say which token follows.*judge a decoder"):
        compare(model, rows_of(), 2)
