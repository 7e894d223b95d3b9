"""Are rows handed out in the forms that training loops take?"""

import numpy as np
import pytest
import torch

from ray_jobs.library.loop_batch import LoopBatch
from ray_jobs.outcome import ConfigError

BATCH = LoopBatch(
    step=3,
    inputs=np.array([[9, 1, 2, 9, 3, 9], [9, 4, 5, 6, 7, 8]], np.int32),
    labels=np.array([[1, 2, 9, 3, 9, -100], [4, 5, 6, 7, 8, 9]], np.int32),
    segments=np.array([[0, 0, 0, 1, 1, -1], [0] * 6], np.int32),
    predictions=11,
)


def test_positions_start_again_with_every_document():
    assert BATCH.positions.tolist() == [[0, 1, 2, 0, 1, 0], [0, 1, 2, 3, 4, 5]]


def test_micro_batches_are_the_same_rows_and_a_remainder_is_refused():
    parts = list(BATCH.split(1))
    assert [part.inputs.tolist() for part in parts] == [[row] for row in BATCH.inputs.tolist()]
    assert {(part.step, part.predictions) for part in parts} == {(3, 11)}
    with pytest.raises(ConfigError, match="2 rows of a rank cannot be split by 3"):
        list(BATCH.split(3))


def test_a_model_of_transformers_computes_the_loss_of_our_labels():
    transformers = pytest.importorskip("transformers")
    config = transformers.LlamaConfig(
        vocab_size=10, hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2
    )
    torch.manual_seed(0)
    model = transformers.LlamaForCausalLM(config).eval()
    tensors = BATCH.tensors()
    with torch.no_grad():
        out = model(**tensors, use_cache=False)
    labels = torch.from_numpy(BATCH.labels.astype(np.int64))
    assert torch.equal(tensors["labels"][:, 1:], labels[:, :-1]), "a model that shifts by itself predicts the same"
    mine = torch.nn.functional.cross_entropy(out.logits.flatten(0, 1), labels.flatten(), ignore_index=-100)
    torch.testing.assert_close(out.loss, mine)
    alone = model(input_ids=tensors["input_ids"][:1, 3:5]).logits  # the second document, without the first
    torch.testing.assert_close(out.logits[:1, 3:5], alone, atol=1e-5, rtol=1e-5)
