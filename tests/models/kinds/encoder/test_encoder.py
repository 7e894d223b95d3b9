"""Any encoder of transformers: documents stay apart, hidden tokens alone are paid for, it leaves and comes back."""

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from cluster.rows import Rows
from models.config import EngineConfig, ModelConfig, Objective, OptimConfig
from models.device import micro_batches
from models.engine.engine import start
from models.kinds.building import build
from models.kinds.encoder.module import MaskedDocuments
from models.kinds.kind import Handover, Pretrained
from models.kinds.kinds import kind_of, model_config, training_flops
from models.measures.scoring import scorer
from tests.models.kinds.test_kind import BATCH_ROWS, ROW_TOKENS, rows_of
from tests.support.folders import DOCUMENT, JSON, VOCAB
from tests.support.imports.late import late

os.environ["HF_HUB_OFFLINE"] = "1"
transformers = late("transformers")
pytestmark = pytest.mark.slow

SMALL = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4}
TOKENS = {"vocab_size": VOCAB, "pad_token_id": 0, "bos_token_id": DOCUMENT, "eos_token_id": DOCUMENT}
WINDOW = {"num_hidden_layers": 4, "local_attention": 6, "cls_token_id": None, "sep_token_id": None}
FAMILIES: dict[str, tuple[dict[str, Any], bool]] = {  # and may documents be packed?
    "bert": (SMALL | {"max_position_embeddings": 24}, True),
    "roberta": (SMALL | {"max_position_embeddings": 26, "pad_token_id": 1}, True),
    "modernbert": (SMALL | {"max_position_embeddings": 24} | WINDOW, True),
    "distilbert": ({"dim": 32, "hidden_dim": 48, "n_layers": 2, "n_heads": 4, "max_position_embeddings": 24}, True),
    "deberta-v2": (SMALL | {"relative_attention": True, "pos_att_type": ["c2p", "p2c"]}, False),
}


def config_of(name: str, **more: Any) -> ModelConfig:
    """The configuration of a small encoder that begins with random weights, large enough to matter."""
    shape = {"kind": "encoder", "row_tokens": ROW_TOKENS, "init_std": 0.2, "vocabulary": VOCAB}
    return model_config(shape | {"family": {"model_type": name} | TOKENS | FAMILIES[name][0]} | more)


def hidden_rows(step: int = 0) -> Rows:
    """Rows of documents of which every third token is to be named; none is the padding of a family."""
    rows = rows_of(step)
    at = np.arange(ROW_TOKENS)[None, :] % 3 == step % 3
    inputs = np.maximum(rows.inputs, 2)
    return Rows(np.where(at, 5, inputs), np.where(at & (rows.segments >= 0), inputs, -100), rows.segments)


def alone_logits(model: Any, rows: Rows) -> torch.Tensor:
    """The logits [B, L, V] by the library's own forward pass over each document alone; padding is left at 0."""
    found = torch.zeros(*rows.inputs.shape, VOCAB)
    for row, segments in enumerate(rows.segments):
        for segment in set(segments[segments >= 0].tolist()):
            at = torch.from_numpy(segments == segment)
            found[row, at] = model(torch.from_numpy(rows.inputs[row])[at][None].long()).logits[0].float()
    return found


@pytest.mark.parametrize("name", FAMILIES)
class TestEveryFamily:
    def test_packed_documents_have_the_logits_that_transformers_give_them_alone(self, name: str) -> None:
        config, rows = config_of(name), hidden_rows()
        model = build(config, VOCAB, 3)
        assert isinstance(model, MaskedDocuments) and model.packed is FAMILIES[name][1]
        (batch,) = micro_batches(rows, BATCH_ROWS)
        there = torch.from_numpy(rows.segments) >= 0
        with torch.no_grad():
            alone = alone_logits(model.model.eval(), rows)
            for packed in {model.packed, False}:
                model.packed = packed
                found = model(batch.inputs, batch.segments)
                assert (found - alone)[there].abs().max() <= 1e-5 * alone.abs().max()
                mixed = model(batch.inputs, torch.zeros_like(batch.segments))
                assert (mixed - alone)[there].abs().max() > 1e-3 * alone.abs().max(), (
                    "documents that are not told apart"
                )

    def test_hidden_tokens_alone_are_paid_for_and_named_alone_as_all_would_be(self, name: str) -> None:
        config, rows, kind = config_of(name), hidden_rows(), kind_of(config_of(name))
        model = build(config, VOCAB, 3)
        (batch,) = micro_batches(rows, BATCH_ROWS)
        with torch.no_grad():
            logits = alone_logits(model.model.eval(), rows)
        labels = torch.from_numpy(rows.labels).long()
        expected = torch.nn.functional.cross_entropy(logits.flatten(0, 1), labels.flatten(), reduction="none")
        torch.testing.assert_close(kind.nats(model, batch).flatten(), expected, rtol=1e-4, atol=1e-4)
        loss = kind.loss(model, batch)
        torch.testing.assert_close(loss.detach(), expected.sum(), rtol=1e-5, atol=1e-4)
        loss.backward()
        grads = {n: p.grad for n, p in model.named_parameters()}
        assert all(grad is not None for grad in grads.values())
        nats, predictions = scorer(config, VOCAB, 3, None)(rows)
        assert predictions.sum() == (rows.labels >= 0).sum()
        np.testing.assert_allclose(nats.sum(), float(expected.sum()), rtol=1e-4)

    def test_it_leaves_for_the_library_and_comes_back_with_the_same_bits(self, name: str, tmp_path: Path) -> None:
        config = config_of(name)
        weights = {n: p.detach() for n, p in build(config, VOCAB, 3).named_parameters()}
        kind_of(config).export(Pretrained(config, VOCAB, weights), Handover(JSON, DOCUMENT), tmp_path / "left")
        theirs = transformers.AutoModelForMaskedLM.from_pretrained(tmp_path / "left", dtype=torch.float32).eval()
        by_name = dict(theirs.named_parameters())
        assert all(torch.equal(by_name[n.removeprefix("model.")], weight) for n, weight in weights.items())
        assert not (tmp_path / "left/generation_config.json").exists()
        theirs.save_pretrained(tmp_path / "theirs")
        for folder in ("left", "theirs"):
            back = kind_of(config).read(tmp_path / folder)
            assert (back.vocab_size, back.config.packed) == (VOCAB, FAMILIES[name][1])
            assert back.config.row_tokens == {"roberta": 24, "deberta-v2": 512}.get(name, 24), "positions that it has"
            assert set(back.weights) == set(weights)
            assert all(torch.equal(back.weights[n], weight) for n, weight in weights.items())
        assert model_config(back.config.model_dump(mode="json")) == back.config


def test_rows_without_any_hidden_token_cost_nothing_and_pull_at_nothing() -> None:
    model, rows = build(config_of("bert"), VOCAB, 3), hidden_rows()
    (batch,) = micro_batches(rows._replace(labels=np.full_like(rows.labels, -100)), BATCH_ROWS)
    loss = kind_of(config_of("bert")).loss(model, batch)
    loss.backward()
    assert float(loss) == 0.0 and all(p.grad is None or not p.grad.any() for p in model.parameters())


def test_from_scratch_our_keys_say_the_shape_and_the_familys_are_the_same() -> None:
    config = model_config({"kind": "encoder", "layers": 3, "width": 24, "heads": 2, "row_tokens": 32})
    family: Any = config.family
    assert family["model_type"] == "bert" and config.learns == Objective.MASKED
    shape = ("num_hidden_layers", "hidden_size", "num_attention_heads", "intermediate_size", "max_position_embeddings")
    assert [family[key] for key in shape] == [3, 24, 2, 96, 32] and family["pad_token_id"] is None
    assert model_config(config.model_dump(mode="json")) == config
    other = model_config({"kind": "encoder", "family": {"model_type": "modernbert", "hidden_size": 64}})
    assert (other.width, other.layers) == (64, 4)
    with pytest.raises(ValueError, match=r"width=32 differs from family\.hidden_size=64; leave one of them out"):
        model_config({"kind": "encoder", "width": 32, "family": {"hidden_size": 64}})
    with pytest.raises(ValueError, match="row_tokens=64 is longer than the 32 positions that the model knows"):
        model_config({"kind": "encoder", "row_tokens": 64, "family": {"max_position_embeddings": 32}})


@pytest.mark.parametrize(
    ("masking", "sentence"),
    [
        ({"share": 0.0}, "greater than or equal to 0.01"),
        ({"share": 0.95}, "less than or equal to 0.9"),
        ({"masked": 0.8, "other": 0.3}, "masked=0.8 and other=0.3 are more than all; lower one of them"),
    ],
)
def test_rates_that_are_none_are_refused(masking: dict[str, float], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        config_of("bert", masking=masking)


def test_operations_of_the_layer_that_names_tokens_count_by_the_share_that_is_hidden() -> None:
    few, many, all_apart = (
        training_flops(config_of("bert", **more), VOCAB)
        for more in ({"masking": {"share": 0.1}}, {"masking": {"share": 0.2}}, {"packed": False})
    )
    head = 6 * (VOCAB * 32 + 32 * 32)
    assert many - few == pytest.approx(0.1 * head) and all_apart - few == pytest.approx(0.9 * head)


def folder_of(tmp_path: Path, name: str = "bert") -> Path:
    """A folder of a random encoder."""
    config = config_of(name)
    weights = {n: p.detach() for n, p in build(config, VOCAB, 3).named_parameters()}
    kind_of(config).export(Pretrained(config, VOCAB, weights), Handover(JSON, DOCUMENT), tmp_path)
    return tmp_path


def test_a_folder_without_the_layer_that_names_tokens_gets_one_that_is_always_the_same(tmp_path: Path) -> None:
    whole = load_file(folder_of(tmp_path) / "model.safetensors")
    body = {n.removeprefix("bert."): t for n, t in whole.items() if n.startswith("bert.")}
    old = {
        n.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta"): t
        for n, t in body.items()
    }
    more = {"pooler.dense.weight": torch.ones(32, 32), "embeddings.position_ids": torch.arange(24)[None]}
    save_file({**old, **more}, tmp_path / "model.safetensors")  # as older versions and sentence-transformers do
    kind = kind_of(config_of("bert"))
    one, two = kind.read(tmp_path), kind.read(tmp_path)
    assert "begins with random weights" in str(one.config.remark)
    assert set(one.weights) == set(build(config_of("bert"), VOCAB, None).state_dict()) & set(one.weights)
    for name, weight in one.weights.items():
        theirs = name.removeprefix("model.")
        if theirs.startswith("bert."):
            assert torch.equal(weight, whole[theirs])
        else:
            assert torch.equal(weight, two.weights[name]) and torch.isfinite(weight).all()
    assert one.weights["model.cls.predictions.transform.LayerNorm.weight"].eq(1).all()


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"auto_map": {"AutoModel": "x.Y"}}, "brings code of its own .* which is never run"),
        ({"model_type": "llama"}, "model_type=llama, which is no masked language model"),
        ({"is_decoder": True}, "is or has a decoder by its config.json"),
        ({"hidden_size": 64}, r"is \[.*\], transformers have it as"),
        ({"num_hidden_layers": 3}, "is absent, transformers have it as"),
        ({"num_hidden_layers": 1}, "which its family has not"),
    ],
)
def test_what_does_not_fit_is_one_sentence(tmp_path: Path, change: dict[str, Any], sentence: str) -> None:
    folder = folder_of(tmp_path)
    family = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(family | change))
    with pytest.raises(ValueError, match=sentence):
        kind_of(config_of("bert")).read(folder)


def test_a_folder_that_lacks_a_part_of_that_layer_is_refused(tmp_path: Path) -> None:
    whole = load_file(folder_of(tmp_path) / "model.safetensors")
    del whole["cls.predictions.transform.dense.bias"]
    save_file(whole, tmp_path / "model.safetensors")
    with pytest.raises(ValueError, match="of one layer; fetch all its files"):
        kind_of(config_of("bert")).read(tmp_path)


@pytest.mark.parametrize("zero_stage", [0, 3])
def test_it_learns_to_name_hidden_tokens_in_the_engine(zero_stage: int) -> None:
    rows = hidden_rows()
    batch = EngineConfig(
        precision="fp32", batch_tokens=BATCH_ROWS * ROW_TOKENS, micro_batch_rows=2, zero_stage=zero_stage
    )
    engine = start(config_of("bert", packed=True, init_std=0.02), VOCAB, batch, OptimConfig(), seed=5)
    losses = [engine.step(rows, int((rows.labels >= 0).sum()), lr=1e-2).loss for _ in range(8)]
    engine.close()
    assert losses[-1] < 0.7 * losses[0]


def test_adapters_stand_beside_the_matrices_of_an_encoder_and_train_alone() -> None:
    pytest.importorskip("peft")
    rows, batch = hidden_rows(), EngineConfig(precision="fp32", batch_tokens=BATCH_ROWS * ROW_TOKENS)
    config = config_of("bert", packed=True, **{"from": "base", "lora": {"rank": 2, "targets": ["query", "value"]}})
    engine = start(config, VOCAB, batch, OptimConfig(), seed=5)
    losses = [engine.step(rows, int((rows.labels >= 0).sum()), lr=1e-1).loss for _ in range(6)]
    trained = {name for name, parameter in engine.module.named_parameters() if parameter.requires_grad}
    engine.close()
    assert losses[-1] < losses[0] and len(trained) == 2 * 2 * 2 and all("lora" in name for name in trained)
