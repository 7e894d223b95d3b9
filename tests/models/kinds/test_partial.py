"""Which part trains is chosen by names that people know, counted, and refused where it names nothing."""

import math

import pytest
from pydantic import ValidationError

from models.config import ModelConfig
from models.kinds.kinds import kind_of, part_that_trains, training_flops
from models.kinds.partial import adapter_shapes, freezes, targets_of
from models.lora import LoraConfig

VOCAB = 90
SHAPE = {"layers": 2, "width": 16, "heads": 2, "kv_heads": 1, "ffn_width": 24, "row_tokens": 16, "from": "base"}


def config_of(**values: object) -> ModelConfig:
    return ModelConfig.model_validate(SHAPE | values)


@pytest.mark.parametrize(
    ("targets", "chosen"),
    [
        (None, "q k v o gate up down"),
        (["q_proj", "v"], "q v"),
        (["self_attn.q_proj"], "q"),
        (["*.mlp.*"], "gate up down"),
        (["layers.*.o"], "o"),
    ],
)
def test_targets_are_names_of_ours_or_of_the_family(targets: list[str] | None, chosen: str) -> None:
    config = config_of()
    found = targets_of(LoraConfig(rank=2, targets=targets), kind_of(config).parameters(config, VOCAB))
    assert set(found) == {f"layers.{layer}.{name}.weight" for layer in (0, 1) for name in chosen.split()}


def test_a_target_or_pattern_that_names_nothing_is_answered_with_those_there_are() -> None:
    with pytest.raises(ValueError, match=r"targets has 'qproj', which names no matrix .*use some of down_proj,"):
        part_that_trains(config_of(lora={"targets": ["q_proj", "qproj"]}), VOCAB)
    with pytest.raises(ValueError, match=r"freeze has 'emb', which names no parameter; use some of .*layers\.\*\.q"):
        part_that_trains(config_of(freeze=["emb"]), VOCAB)
    with pytest.raises(ValueError, match="leaves nothing to train"):
        part_that_trains(config_of(freeze=["*"]), VOCAB)


def test_what_trains_in_part_needs_what_stays() -> None:
    for part in ({"lora": {}}, {"freeze": 1}):
        with pytest.raises(ValidationError, match="random ones are worth nothing; set from"):
            ModelConfig.model_validate(SHAPE | part | {"from": None})
    with pytest.raises(ValidationError, match="leave one of them out"):
        config_of(lora={}, freeze=1)
    with pytest.raises(ValidationError, match="greater than or equal to 1"):
        config_of(lora={"rank": 0})


def test_adapters_are_counted_and_frozen_matrices_take_no_gradient() -> None:
    whole, part = config_of(), config_of(lora={"rank": 2, "targets": ["q", "down"]})
    shapes = adapter_shapes(part.lora, kind_of(part).parameters(part, VOCAB))
    assert shapes["layers.1.down.lora_A.weight"] == (2, 24) and shapes["layers.1.down.lora_B.weight"] == (16, 2)
    added = 2 * (2 * (16 + 16) + 2 * (24 + 16))
    assert part_that_trains(part, VOCAB).trained == added
    layer = 16 * 16 * 2 + 16 * 8 * 2 + 3 * 16 * 24
    frozen = 2 * layer + 128 * 16  # the table of outputs is multiplied with too
    assert training_flops(part, VOCAB) == training_flops(whole, VOCAB) - 2 * frozen + 6 * added


def test_frozen_layers_are_counted() -> None:
    config, total = config_of(freeze=1), kind_of(config_of()).num_parameters(config_of(), VOCAB)
    names = kind_of(config).parameters(config, VOCAB)
    frozen = sum(math.prod(found.shape) for name, found in names.items() if freezes(1, name))
    assert part_that_trains(config, VOCAB).trained == total - frozen and 0 < frozen < total
    assert config.trains_part and not config.whole.trains_part and config.whole == config_of()
