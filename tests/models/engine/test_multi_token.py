"""Does a run with heads for further tokens step alike at every stage and world size, and resume with its bits?"""

from pathlib import Path

import numpy as np
import pytest
import torch

from models.engine.checkpoint import restore_engine, snapshot
from models.engine.engine import Engine
from models.kinds.building import build
from models.kinds.multi_token.transformer import MultiTokenTransformer
from models.multi_token import MultiTokenConfig
from tests.models.engine.test_engine import MODEL, STAGES, VOCAB, global_batch, make, spawn, state_of, train
from tests.models.kinds.multi_token.test_heads import naive_loss

pytestmark = pytest.mark.slow

HEADS = MultiTokenConfig(tokens=3, weights=(1.0, 0.5))
STEPS = 2
TOLERANCE = {"fp32": 1e-6, "bf16": 2e-4}


def headed(stage: int, precision: str = "fp32", **more: object) -> Engine:
    """Start an engine whose model has heads."""
    return make(stage, precision, mtp=HEADS, **more)


def save(engine: Engine, folder: Path) -> None:
    """Write this rank's file and wait for the others."""
    folder.mkdir(parents=True, exist_ok=True)
    snapshot(engine).write(folder / f"{torch.distributed.get_rank()}.safetensors")
    torch.distributed.barrier()


def further(engine: Engine) -> tuple[list[tuple[float, float, bool]], list[tuple[float, ...]]]:
    """Take two more steps: what they did, and what the further tokens cost in each."""
    results, ahead = [], []
    for step in range(STEPS, STEPS + 2):
        results += train(engine, range(step, step + 1))
        ahead.append(engine.ahead)
    return results, ahead


def losses_of(results: list[tuple[float, float, bool]], ahead: list[tuple[float, ...]]) -> np.ndarray:
    """The losses of each step, the next token's first."""
    return np.array([(loss, *more) for (loss, _, _), more in zip(results, ahead, strict=True)])


def train_and_resume(stage: int, precision: str, folder: Path) -> None:
    """Train, keep, go on; another engine goes on from what was kept, with the same bits."""
    first = headed(stage, precision)
    train(first, range(STEPS))
    save(first, folder)
    after, ahead = further(first)
    state = state_of(first)
    first.close()
    second = headed(stage, precision)
    restore_engine(second, sorted(folder.glob("*.safetensors")))
    assert further(second) == (after, ahead), (stage, precision)
    assert all(torch.equal(a, b) for a, b in zip(state, state_of(second), strict=True))
    second.close()
    if torch.distributed.get_rank() == 0:
        np.save(folder / "after.npy", losses_of(after, ahead))


def cross(stage: int, folder: Path) -> None:
    """Go on with what another world size or stage kept: the losses that follow are its own, but for rounding."""
    engine = headed(stage)
    restore_engine(engine, sorted(folder.glob("*.safetensors")))
    np.testing.assert_allclose(losses_of(*further(engine)), np.load(folder / "after.npy"), rtol=TOLERANCE["fp32"])
    engine.close()


def in_two(rank: int, root: str) -> None:
    """Stages that shard little and all on two ranks, and what one rank kept on two."""
    for stage in (1, 3):
        train_and_resume(stage, "fp32", Path(root, f"two-{stage}"))
    cross(1, Path(root, "one-3-fp32"))
    cross(3, Path(root, "one-1-fp32"))


def test_every_stage_and_world_size_resumes_with_the_same_bits_and_goes_on_as_another(tmp_path: Path) -> None:
    for stage in STAGES:
        train_and_resume(stage, "fp32", tmp_path / f"one-{stage}-fp32")
    for stage in (1, 3):
        train_and_resume(stage, "bf16", tmp_path / f"one-{stage}-bf16")
    curves = [np.load(tmp_path / f"one-{stage}-fp32" / "after.npy") for stage in STAGES]
    for curve in curves:
        assert curve.shape == (2, 3)
        np.testing.assert_allclose(curve, curves[0], rtol=TOLERANCE["fp32"])
    spawn(2, in_two, tmp_path, str(tmp_path))
    cross(2, tmp_path / "two-3")
    np.testing.assert_allclose(np.load(tmp_path / "two-3" / "after.npy"), curves[0], rtol=TOLERANCE["fp32"])


@pytest.mark.parametrize(("stage", "recompute"), [(0, False), (1, True), (3, False), (3, True)])
def test_the_gradient_is_that_of_all_tokens_and_the_loss_that_of_the_next(stage: int, recompute: bool) -> None:
    rows = global_batch(0)
    engine = headed(stage, recompute=recompute)
    ((loss, norm, skipped),) = train(engine, range(1))
    ahead = engine.ahead
    engine.close()
    model = build(MODEL.model_copy(update={"mtp": HEADS}), VOCAB, 7)
    assert isinstance(model, MultiTokenTransformer)
    tokens, labels, segments = (torch.from_numpy(np.array(field)) for field in rows)
    total, nats = naive_loss(model, (tokens, segments, labels.long()), VOCAB)
    count = int((labels != -100).sum())
    (total / count).backward()
    gradients = [p.grad for p in model.parameters() if p.grad is not None]
    assert not skipped
    assert loss == pytest.approx(float(nats[0]) / count, rel=1e-6)
    assert norm == pytest.approx(float(torch.nn.utils.get_total_norm(gradients)), rel=1e-5)
    assert len(ahead) == 2 and all(7 < nats < 9 for nats in ahead), "each over its own labels: about log 2000"
