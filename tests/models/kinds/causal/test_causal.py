"""Any causal model of transformers: documents stay apart, packed or not, and it trains, leaves and comes back."""

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from models.config import EngineConfig, ModelConfig, OptimConfig
from models.device import micro_batches
from models.engine.engine import start
from models.kinds.building import build
from models.kinds.kind import Handover, Pretrained
from models.kinds.kinds import kind_of, model_config, part_that_trains
from models.measures.scoring import scorer
from tests.models.kinds.test_kind import BATCH_ROWS, ROW_TOKENS, rows_of
from tests.support.folders import DOCUMENT, JSON, VOCAB
from tests.support.imports.late import late

os.environ["HF_HUB_OFFLINE"] = "1"
transformers = late("transformers")
pytestmark = pytest.mark.slow

SMALL = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4}
TOKENS = {"vocab_size": VOCAB, "pad_token_id": 0, "bos_token_id": DOCUMENT, "eos_token_id": DOCUMENT}
GROUPED = SMALL | {"num_key_value_heads": 2, "max_position_embeddings": 64}
FAMILIES: dict[str, tuple[dict[str, Any], bool]] = {  # and may documents be packed?
    "gpt2": ({"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 64}, True),
    "gemma": (GROUPED | {"head_dim": 8}, True),
    "phi3": (GROUPED, True),
    "bloom": ({"hidden_size": 32, "n_layer": 2, "n_head": 4}, False),
    "opt": (SMALL | {"ffn_dim": 48, "word_embed_proj_dim": 32, "max_position_embeddings": 64}, False),
}


def config_of(name: str, **more: Any) -> ModelConfig:
    """The configuration of a small model that begins with random weights."""
    family = {"model_type": name} | TOKENS | FAMILIES[name][0]
    shape = {"kind": "transformers", "layers": 2, "width": 32, "heads": 4, "row_tokens": ROW_TOKENS, "init_std": 0.2}
    return model_config(shape | {"family": family, "vocabulary": VOCAB} | more)


def alone_nats(model: Any, rows: Any) -> np.ndarray:
    """The nats of each segment, by the library's own forward pass over each document alone."""
    found = np.zeros((len(rows.inputs), int(rows.segments.max()) + 1))
    for row, segments in enumerate(rows.segments):
        for segment in set(segments[segments >= 0].tolist()):
            at = segments == segment
            logits = model(torch.from_numpy(rows.inputs[row, at])[None].long()).logits[0].float()
            labels = torch.from_numpy(rows.labels[row, at]).long()
            found[row, segment] = float(torch.nn.functional.cross_entropy(logits, labels, reduction="sum"))
    return found


@pytest.mark.parametrize("name", FAMILIES)
class TestEveryFamily:
    def test_packed_documents_have_the_nats_they_have_alone(self, name: str) -> None:
        config, rows = config_of(name), rows_of(0)
        model = build(config, VOCAB, 3)
        assert model.packed is FAMILIES[name][1]
        evaluated, _ = scorer(config, VOCAB, 3, None)(rows)
        with torch.no_grad():
            expected = alone_nats(model.model.eval(), rows)
        np.testing.assert_allclose(evaluated, expected, rtol=2e-4, atol=1e-4)

    def test_it_is_counted_trains_and_its_loss_is_the_sum_of_the_nats(self, name: str) -> None:
        config, kind, rows = config_of(name), kind_of(config_of(name)), rows_of(0)
        model = build(config, VOCAB, 3)
        said = {name: found.shape for name, found in kind.parameters(config, VOCAB).items()}
        assert said == {name: tuple(parameter.shape) for name, parameter in model.named_parameters()}
        assert kind.num_parameters(config, VOCAB) == sum(p.numel() for p in model.parameters())
        assert 0 < kind.flops_per_token(config, VOCAB) < float("inf")
        (batch,) = micro_batches(rows, BATCH_ROWS)
        loss = kind.loss(model, batch)
        torch.testing.assert_close(loss.detach(), kind.nats(model, batch).sum(), rtol=1e-5, atol=1e-4)
        loss.backward()
        assert all(p.grad is not None for p in model.parameters())

    def test_it_leaves_for_the_library_and_comes_back_with_the_same_bits(self, name: str, tmp_path: Path) -> None:
        config = config_of(name)
        weights = {n: p.detach() for n, p in build(config, VOCAB, 3).named_parameters()}
        kind_of(config).export(Pretrained(config, VOCAB, weights), Handover(JSON, DOCUMENT), tmp_path / "left")
        theirs = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "left", dtype=torch.float32).eval()
        by_name = dict(theirs.named_parameters())
        assert all(torch.equal(by_name[n.removeprefix("model.")], weight) for n, weight in weights.items())
        theirs.save_pretrained(tmp_path / "theirs")
        for folder in ("left", "theirs"):
            back = kind_of(config).read(tmp_path / folder)
            assert (back.vocab_size, back.config.packed) == (VOCAB, FAMILIES[name][1])
            assert set(back.weights) == set(weights)
            assert all(torch.equal(back.weights[n], weight) for n, weight in weights.items())
        assert model_config(back.config.model_dump(mode="json")) == back.config


def test_dropout_of_a_family_is_off_and_the_remark_says_what_is_not_packed() -> None:
    model = build(config_of("gpt2"), VOCAB, 3)
    assert all(module.p == 0 for module in model.modules() if isinstance(module, torch.nn.Dropout))
    assert "a row of its own" in str(config_of("bloom", packed=False).remark)
    assert config_of("gpt2", packed=True).remark is None and ModelConfig().remark is None


def test_it_trains_in_the_engine_and_adapters_stand_beside_transposed_matrices() -> None:
    pytest.importorskip("peft")
    rows, losses = rows_of(0), {}
    batch = EngineConfig(precision="fp32", batch_tokens=BATCH_ROWS * ROW_TOKENS, micro_batch_rows=2, zero_stage=3)
    for part in ("whole", "lora"):
        more = {"from": "base", "lora": {"rank": 2, "targets": ["c_attn"]}} if part == "lora" else {}
        config = config_of("gpt2", packed=True, **more)
        engine = start(config, VOCAB, batch, OptimConfig(), seed=5)
        count = int((rows.labels != -100).sum())
        losses[part] = [engine.step(rows, count, lr=1e-2).loss for _ in range(4)]
        engine.close()
    assert losses["whole"][0] == losses["lora"][0] and losses["whole"][-1] < losses["lora"][-1] < losses["lora"][0]
    assert part_that_trains(config, VOCAB).trained == 2 * 2 * (32 + 96)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"auto_map": {"AutoModel": "x.Y"}}, "brings code of its own .* which is never run"),
        ({"model_type": "bert2"}, "model_type=bert2, which is no causal language model"),
        ({"quantization_config": {"bits": 4}}, "holds quantized weights"),
        ({"n_embd": 64}, r"is \[.*\], transformers have it as"),
        ({"n_layer": 3}, "is absent, transformers have it as"),
        ({"n_layer": 1}, "which its family has not"),
    ],
)
def test_what_does_not_fit_is_one_sentence(tmp_path: Path, change: dict[str, Any], sentence: str) -> None:
    config = config_of("gpt2")
    weights = {n: p.detach() for n, p in build(config, VOCAB, 3).named_parameters()}
    kind_of(config).export(Pretrained(config, VOCAB, weights), Handover(JSON, DOCUMENT), tmp_path)
    family = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(family | change))
    with pytest.raises(ValueError, match=sentence):
        kind_of(config).read(tmp_path)


def test_keys_of_the_decoder_are_refused() -> None:
    with pytest.raises(ValueError, match="window is a key of kind=decoder; say it in the family's own words"):
        config_of("gpt2", window=8)
    with pytest.raises(ValueError, match="needs a model; set from, or family with its model_type"):
        model_config({"kind": "transformers"})
