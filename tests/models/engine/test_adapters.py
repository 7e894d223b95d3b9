"""Does a run that trains in part (LoRA, frozen layers) compute what peft computes, and go on with the same bits?"""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from models.config import EngineConfig, ModelConfig, OptimConfig
from models.engine import zero
from models.engine.adapters import RowDropout, RowsAt, draw, is_adapter
from models.engine.checkpoint import read_full_weights, restore_engine, restore_frozen, snapshot, weights_sha256
from models.engine.engine import Engine, start
from models.engine.weights import MergedWeights, initial_snapshot, measure_weights
from models.kinds.building import build
from models.kinds.kinds import kind_of, part_that_trains
from models.measures.scoring import scorer
from tests.models.engine.test_engine import BATCH_ROWS, MODEL, STAGES, VOCAB, global_batch, spawn, state_of, train
from tests.support.imports.late import late

pytestmark = pytest.mark.slow
late("peft")

LORA = {"rank": 4, "alpha": 8, "targets": ["q", "v_proj", "mlp.down_proj"]}
SEED, STEPS = 7, 3
PARTS: dict[str, dict[str, Any]] = {
    "lora": {"lora": LORA},
    "dropout": {"lora": LORA | {"dropout": 0.2}},
    "freeze": {"freeze": 1},
    "patterns": {"freeze": ["embed*"]},
    "lion": {"lora": LORA},  # and that optimizer
    "muon": {"lora": LORA},
}
# another world size or stage differs by the order of additions alone; in bf16 its partial sums are rounded too
TOLERANCE = {"fp32": 1e-6, "bf16": 2e-4}


def shape_of(part: str, **more: Any) -> ModelConfig:
    """The small model, of which a part trains, beginning with weights of others."""
    return ModelConfig.model_validate(MODEL.model_dump(mode="json") | {"from": "base"} | PARTS[part] | more)


def make(part: str, stage: int, precision: str, base: Path, **more: Any) -> Engine:
    """Start an engine that holds undrawn weights, and put into it what the run begins with."""
    config = shape_of(part, **more)
    batch = BATCH_ROWS * MODEL.row_tokens
    settings = EngineConfig(zero_stage=stage, precision=precision, batch_tokens=batch, micro_batch_rows=2)
    kind = part if part in ("lion", "muon") else "adamw"
    engine = start(config, VOCAB, settings, OptimConfig(kind=kind, weight_decay=0.1), seed=None)
    restore_frozen(engine, [base])
    restore_engine(engine, [base], SEED)
    return engine


def write_base(path: Path, dtype: torch.dtype = torch.float32) -> dict[str, torch.Tensor]:
    """Write weights that a run begins with; returns them."""
    model = build(MODEL, VOCAB, 3)
    weights = {name: parameter.detach().to(dtype) for name, parameter in model.named_parameters()}
    initial_snapshot(weights, measure_weights(weights).shapes).write(path)
    return {name: weight.float() for name, weight in weights.items()}


def files(folder: Path) -> list[Path]:
    """The files of a checkpoint."""
    return sorted(folder.glob("*.safetensors"))


def save(engine: Engine, folder: Path) -> None:
    """Write this rank's file and wait for the others."""
    folder.mkdir(parents=True, exist_ok=True)
    snapshot(engine).write(folder / f"{torch.distributed.get_rank()}.safetensors")
    torch.distributed.barrier()


def frozen_bits(engine: Engine) -> list[torch.Tensor]:
    """Copy what this rank holds of frozen weights."""
    return [part.weight.clone() for part in zero.frozen(engine.deepspeed)]


def train_and_resume(part: str, stage: int, precision: str, root: Path) -> None:
    """Train, keep, go on; another engine goes on from what was kept, with the same bits; frozen bits never change."""
    first = make(part, stage, precision, root / "base")
    folder = root / f"{part}-{stage}-{precision}-{torch.distributed.get_world_size()}"
    before = frozen_bits(first)
    train(first, range(STEPS))
    save(first, folder)
    after = train(first, range(STEPS, STEPS + 2))
    assert before and all(torch.equal(a, b) for a, b in zip(before, frozen_bits(first), strict=True))
    state = state_of(first)
    first.close()
    second = make(part, stage, precision, root / "base")
    restore_engine(second, files(folder), SEED + 1)
    assert train(second, range(STEPS, STEPS + 2)) == after, (part, stage, precision)
    assert all(torch.equal(a, b) for a, b in zip(state, state_of(second), strict=True))
    second.close()
    if torch.distributed.get_rank() == 0:
        np.save(folder / "after.npy", np.array([loss for loss, _, _ in after]))


def cross(part: str, source: str, stage: int, precision: str, root: Path) -> None:
    """Go on at another world size or stage: the losses that follow are those of the other, but for rounding."""
    engine = make(part, stage, precision, root / "base")
    restore_engine(engine, files(root / source), SEED + 1)
    losses = [loss for loss, _, _ in train(engine, range(STEPS, STEPS + 2))]
    np.testing.assert_allclose(losses, np.load(root / source / "after.npy"), rtol=TOLERANCE[precision])
    engine.close()


def in_two(rank: int, root: str) -> None:
    """Every stage and precision on two ranks, and what one rank kept on two."""
    for stage in STAGES:
        train_and_resume("lora", stage, "fp32", Path(root))
        if stage in (1, 3):
            train_and_resume("lora", stage, "bf16", Path(root))
        train_and_resume("freeze", stage, "fp32", Path(root))
        train_and_resume("muon", stage, "fp32", Path(root))
        cross("lion", f"lion-{stage}-fp32-1", stage, "fp32", Path(root))
        cross("dropout", f"dropout-{stage}-fp32-1", stage, "fp32", Path(root))
        cross("lora", f"lora-{stage}-fp32-1", stage, "fp32", Path(root))
    cross("lora", "lora-1-fp32-2", 3, "fp32", Path(root))


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Checkpoints of one rank and of two; every resume at the same world size is compared already."""
    folder = tmp_path_factory.mktemp("adapters")
    write_base(folder / "base")
    for stage in STAGES:
        train_and_resume("lora", stage, "fp32", folder)
        train_and_resume("patterns", stage, "fp32", folder)
        train_and_resume("dropout", stage, "fp32", folder)
        train_and_resume("lion", stage, "fp32", folder)
    spawn(2, in_two, folder, str(folder))
    return folder


@pytest.mark.parametrize("stage", STAGES)
def test_what_two_ranks_kept_goes_on_on_one(root: Path, stage: int) -> None:
    cross("lora", f"lora-{stage}-fp32-2", stage, "fp32", root)
    cross("freeze", f"freeze-{stage}-fp32-2", stage, "fp32", root)


def test_every_stage_and_world_trains_the_same(root: Path) -> None:
    curves = [np.load(root / f"lora-{stage}-fp32-{world}" / "after.npy") for stage in STAGES for world in (1, 2)]
    for curve in curves:
        np.testing.assert_allclose(curve, curves[0], rtol=1e-6)


def test_dropout_changes_what_is_learnt_and_is_the_same_on_any_number_of_ranks(root: Path) -> None:
    kept, plain = (np.load(root / f"{part}-1-fp32-1" / "after.npy") for part in ("dropout", "lora"))
    assert np.abs(kept - plain).max() > 1e-5  # two ranks were compared with one already, when they went on
    at = RowsAt(step=3, first_row=4)
    layer, x = RowDropout("layers.0.q", 0.25, at), torch.ones(4, 64, 32)
    whole = layer(x)
    assert 0.7 < float((whole > 0).float().mean()) < 0.8 and float(whole.max()) == pytest.approx(1 / 0.75)
    at.first_row = 6
    assert torch.equal(layer(x[:2]), whole[2:])
    at.step = 4
    assert not torch.equal(layer(x[:2]), whole[2:]) and torch.equal(layer.eval()(x), x)


def test_a_checkpoint_holds_what_trains_alone(root: Path) -> None:
    kept = read_full_weights(files(root / "lora-3-fp32-2"))
    assert kept and all(is_adapter(name) for name in kept)
    config = shape_of("lora")
    assert sum(weight.numel() for weight in kept.values()) == part_that_trains(config, VOCAB).trained
    size = sum(path.stat().st_size for path in files(root / "lora-3-fp32-2"))
    assert size < 0.2 * (root / "base").stat().st_size
    frozen = read_full_weights(files(root / "freeze-1-fp32-2"))
    assert {name.split(".")[1] for name in frozen if name.startswith("layers.")} == {"1"} and "norm.weight" in frozen
    assert weights_sha256(files(root / "lora-3-fp32-2")) != weights_sha256(files(root / "lora-3-fp32-1"))


def test_merged_weights_give_the_nats_that_training_saw(root: Path) -> None:
    engine = make("lora", 2, "fp32", root / "base")
    restore_engine(engine, files(root / "lora-2-fp32-1"))
    rows = global_batch(50)
    nats, _ = engine.evaluate(rows)
    engine.close()
    config, base = shape_of("lora"), read_full_weights([root / "base"])
    weights = MergedWeights(base, read_full_weights(files(root / "lora-2-fp32-1")), config)
    alone, _ = scorer(config, VOCAB, 0, weights)(rows)
    np.testing.assert_allclose(alone, nats, rtol=1e-5)
    untrained, _ = scorer(config, VOCAB, 0, base)(rows)
    assert np.abs(untrained - nats).max() > 1e-3
    assert set(weights) == set(base) and torch.equal(weights["embed.weight"], base["embed.weight"])


def test_training_begins_at_the_weights_as_they_were_and_lowers_the_loss(root: Path) -> None:
    engine = make("lora", 1, "fp32", root / "base")
    nats, _ = engine.evaluate(global_batch(50))
    alone, _ = scorer(MODEL, VOCAB, 0, read_full_weights([root / "base"]))(global_batch(50))
    np.testing.assert_allclose(nats, alone, rtol=1e-6)
    losses = [train(engine, range(1))[0][0] for _ in range(12)]
    engine.close()
    assert losses[-1] < losses[0] - 0.05, losses


def test_weights_in_half_precision_are_held_as_they_came(tmp_path: Path) -> None:
    weights = write_base(tmp_path / "base", torch.bfloat16)
    for precision in TOLERANCE:
        engine = make("lora", 3, precision, tmp_path / "base")
        for part in zero.frozen(engine.deepspeed):
            assert torch.equal(part.weight.float(), weights[part.name].view(-1))
        engine.close()


def test_recomputed_layers_get_the_same_gradients(root: Path) -> None:
    curves = []
    for recompute in (False, True):
        engine = make("lora", 2, "fp32", root / "base", recompute=recompute)
        curves.append(train(engine, range(3)))
        engine.close()
    assert curves[0] == curves[1] and curves[0][0][1] > 0


def test_adapters_begin_as_a_function_of_seed_and_name() -> None:
    name, shape = "layers.0.q.lora_A.weight", (4, 64)
    assert torch.equal(draw(name, shape, 1), draw(name, shape, 1))
    assert not torch.equal(draw(name, shape, 1), draw(name, shape, 2))
    assert not torch.equal(draw(name, shape, 1), draw("layers.1.q.lora_A.weight", shape, 1))
    assert 0.1 < float(draw(name, shape, 1).abs().max()) <= 1 / 8
    assert not draw("layers.0.q.lora_B.weight", (64, 4), 1).any()


def test_what_trains_is_counted(root: Path) -> None:
    kind, config = kind_of(MODEL), shape_of("lora")
    each = 4 * (64 + 64) + 4 * (64 + 32) + 4 * (MODEL.ffn + 64)
    assert part_that_trains(config, VOCAB).trained == 2 * each
    assert part_that_trains(MODEL, VOCAB).trained == kind.num_parameters(MODEL, VOCAB)
