"""Does one global batch give one step, whatever the workers, the ZeRO stage and the precision?"""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from cluster.rows import Rows
from models.config import EngineConfig, ModelConfig, OptimConfig
from models.engine import checkpoint, zero
from models.engine.engine import Engine, resolve_precision, start
from tests.support.imports.forks import fork_server
from tests.support.runs import ROOT

pytestmark = pytest.mark.slow

MODEL = ModelConfig(layers=2, width=64, heads=4, kv_heads=2, row_tokens=32)
VOCAB = 2000  # its table (2048 x 64) is over ZeRO-3's threshold for weights that stay on every rank
BATCH_ROWS = 8
STAGES = (0, 1, 2, 3)
LR = 3e-3


def global_batch(step: int) -> Rows:
    """Make rows of two to four documents with some padding and an uneven number of labels."""
    random = np.random.default_rng(step)
    tokens = random.integers(0, VOCAB, (BATCH_ROWS, MODEL.row_tokens + 1)).astype(np.int32)
    cuts = np.sort(random.integers(1, MODEL.row_tokens, (BATCH_ROWS, 3)), axis=1)
    segments = (np.arange(MODEL.row_tokens)[None, :, None] >= cuts[:, None, :]).sum(-1).astype(np.int32)
    labels = tokens[:, 1:].copy()
    labels[0, 5:20] = -100
    labels[-1, -9:], segments[-1, -9:] = -100, -1
    return Rows(tokens[:, :-1].copy(), labels, segments)


def part_of(rows: Rows, rank: int, world_size: int) -> Rows:
    """Take one rank's part of a global batch."""
    share = len(rows.inputs) // world_size
    return Rows(*(field[rank * share : (rank + 1) * share] for field in rows))


def make(stage: int, precision: str, offload: str = "none", kind: str = "adamw", **model: Any) -> Engine:
    """Start a small engine in the current process group; kind: of optimizer."""
    engine = EngineConfig(
        zero_stage=stage,
        precision=precision,
        batch_tokens=BATCH_ROWS * MODEL.row_tokens,
        micro_batch_rows=2,
        offload=offload,
    )
    return start(MODEL.model_copy(update=model), VOCAB, engine, OptimConfig(kind=kind, weight_decay=0.1), seed=7)


def train(engine: Engine, steps: range) -> list[tuple[float, float, bool]]:
    """Run steps and return (loss, gradient norm, skipped)."""
    results = []
    for step in steps:
        rows = global_batch(step)
        rank, world_size = torch.distributed.get_rank(), torch.distributed.get_world_size()
        mine = part_of(rows, rank, world_size)
        results.append(tuple(engine.step(mine, int((rows.labels != -100).sum()), lr=LR)))
    return results


def spawn(world_size: int, job: Callable[..., None], directory: Path, *args: Any) -> None:
    """Run `job(rank, *args)` in `world_size` processes joined by gloo, forked from one that has imported all."""
    zero.import_deepspeed()  # sets what the fork server must inherit
    fork_server("deepspeed", __name__)
    rendezvous = directory / f"rendezvous-{job.__name__}-{world_size}"
    arguments = (world_size, str(rendezvous), job, args)
    torch.multiprocessing.start_processes(_enter, arguments, nprocs=world_size, start_method="forkserver")


def _enter(rank: int, world_size: int, rendezvous: str, job: Callable[..., None], args: tuple[Any, ...]) -> None:
    os.environ["LOCAL_RANK"] = str(rank)
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", init_method=f"file://{rendezvous}", rank=rank, world_size=world_size)
    job(rank, *args)
    torch.distributed.destroy_process_group()


def state_of(engine: Engine) -> list[torch.Tensor]:
    """Copy all state a rank owns."""
    parts = zero.fragments(engine.deepspeed)
    return [tensor.clone() for part in parts for tensor in (part.weight, *part.states.values())]


@pytest.fixture(scope="module")
def alone() -> dict[str, list[tuple[float, float, bool]]]:
    """Loss curves of one worker at every stage and precision."""
    curves = {}
    for precision in ("fp32", "bf16"):
        for stage in STAGES:
            engine = make(stage, precision)
            curves[f"{stage} {precision}"] = train(engine, range(4))
            engine.close()
    return curves


def test_every_zero_stage_follows_the_same_curve(alone: Any) -> None:
    for precision, tolerance in (("fp32", 1e-6), ("bf16", 2e-4)):  # bf16: ZeRO-0 adds gradients in bf16
        reference = np.array([step[:2] for step in alone[f"2 {precision}"]])
        for stage in STAGES:
            curve = np.array([step[:2] for step in alone[f"{stage} {precision}"]])
            np.testing.assert_allclose(curve[:, 0], reference[:, 0], rtol=tolerance)
            np.testing.assert_allclose(curve[:, 1], reference[:, 1], rtol=20 * tolerance)


@pytest.mark.parametrize("stage", [1, 2])
def test_an_optimizer_on_the_host_takes_the_same_steps_and_resumes_exactly(
    alone: Any, stage: int, tmp_path: Path
) -> None:
    engine = make(stage, "fp32", "optimizer")
    steps = train(engine, range(3))
    checkpoint.snapshot(engine).write(tmp_path / "0.safetensors")
    last = train(engine, range(3, 4))
    engine.close()
    # the gradient's norm is added up in another order, so that its last bit differs on some processors
    expected = np.array([step[:2] for step in alone[f"{stage} fp32"]])
    np.testing.assert_allclose(np.array([step[:2] for step in steps + last]), expected, rtol=1e-6)
    again = make(stage, "fp32", "optimizer")
    checkpoint.restore_engine(again, [tmp_path / "0.safetensors"])
    assert train(again, range(3, 4)) == last
    again.close()


def silent(rows: Rows, of: slice) -> Rows:
    """The same rows, some of which have nothing to learn."""
    rows.labels[of] = -100
    return rows


def _train_silent(rank: int, into: str) -> None:
    engine = make(1, "fp32")
    mine = part_of(silent(global_batch(0), slice(4, 8)), rank, 2)
    result = engine.step(mine, int((silent(global_batch(0), slice(4, 8)).labels != -100).sum()), lr=LR)
    if rank == 0:
        np.save(into, np.array(result))
    engine.close()


def test_rows_without_labels_add_nothing_on_whichever_rank_they_are(tmp_path: Path) -> None:
    rows = silent(global_batch(0), slice(4, 8))
    engine = make(1, "fp32")
    one = engine.step(rows, int((rows.labels != -100).sum()), lr=LR)
    nothing = engine.step(silent(rows, slice(0, 8)), 0, lr=LR)
    assert nothing.loss == nothing.grad_norm == 0.0, "and nothing is divided by it"
    assert all(bool(torch.isfinite(tensor).all()) for tensor in state_of(engine))
    engine.close()
    spawn(2, _train_silent, tmp_path, str(tmp_path / "two.npy"))
    np.testing.assert_allclose(np.load(tmp_path / "two.npy")[:2], np.array(one)[:2], rtol=1e-6)


def test_training_lowers_the_loss(alone: Any) -> None:
    engine = make(2, "fp32")
    losses = [train(engine, range(1))[0][0] for _ in range(15)]
    engine.close()
    assert losses[-1] < losses[0] - 1.0, losses


def test_a_worker_does_not_load_torchs_compiler_for_nothing(tmp_path: Path) -> None:
    """2 s a worker; ZeRO-3 loads it itself."""
    join = (
        f"import sys, torch; torch.distributed.init_process_group('gloo', init_method='file://{tmp_path}/r', rank=0, "
    )
    steps = "world_size=1); from tests.models.engine.test_engine import make, train; train(make(2, 'fp32'), range(2)); "
    script = join + steps + "assert 'torch._dynamo' not in sys.modules"
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]


def two_workers(rank: int, path: str) -> None:
    """Train at every stage; then poison one rank and see that nobody moves."""
    curves = {}
    for precision in ("fp32", "bf16"):
        for stage in STAGES:
            engine = make(stage, precision)
            curves[f"{stage} {precision}"] = train(engine, range(4))
            before = state_of(engine)
            poison = Poison(engine, active=rank == 1)
            loss, _, skipped = train(engine, range(4, 5))[0]
            poison.remove()
            assert skipped, f"stage {stage} {precision} took a step on NaN"
            assert not np.isfinite(loss), loss
            same = [torch.equal(a, b) for a, b in zip(before, state_of(engine), strict=True)]
            assert all(same), f"stage {stage} {precision} changed state in a skipped step"
            curves[f"{stage} {precision}"] += train(engine, range(4, 6))
            engine.close()
    if rank == 0:
        torch.save(curves, path)


class Poison:
    """Multiply the hidden states of one micro batch by infinity."""

    def __init__(self, engine: Engine, active: bool) -> None:
        self.left = 1 if active else 0
        self.handle = engine.module.norm.register_forward_hook(self)

    def __call__(self, module: Any, inputs: Any, output: torch.Tensor) -> torch.Tensor:
        self.left, now = 0, self.left
        return output * float("inf") if now else output

    def remove(self) -> None:
        """Let the model work again."""
        self.handle.remove()


def test_two_workers_equal_one_and_skip_non_finite_steps_together(alone: Any, tmp_path: Path) -> None:
    spawn(2, two_workers, tmp_path, str(tmp_path / "curves.pt"))
    curves = torch.load(tmp_path / "curves.pt")
    for case, steps in curves.items():
        tolerance = 1e-6 if "fp32" in case else 2e-4  # the order of additions; bf16 rounds weights after them
        one, two = (np.array([step[0] for step in curve[:4]]) for curve in (alone[case], steps))
        np.testing.assert_allclose(two, one, rtol=tolerance, err_msg=case)
        assert all(np.isfinite(loss) and not skipped for loss, _, skipped in steps[4:]), case
        engine = make(int(case[0]), case[2:])
        expected = [step[0] for step in train(engine, range(6))][4:]
        engine.close()
        np.testing.assert_allclose([s[0] for s in steps[4:]], expected, rtol=2 * tolerance, err_msg=case)


@pytest.mark.parametrize("stage", [0, 3])
def test_recomputing_layers_changes_nothing(stage: int) -> None:
    curves = []
    for recompute in (False, True):
        engine = make(stage, "fp32", recompute=recompute)
        curves.append(train(engine, range(2)))
        engine.close()
    np.testing.assert_allclose(curves[0], curves[1], rtol=1e-6)


def test_evaluation_is_exact_per_segment_and_leaves_training_alone() -> None:
    engine = make(1, "fp32")
    before = state_of(engine)
    rows = global_batch(0)
    nats, predictions = engine.evaluate(rows)
    assert nats.shape == predictions.shape == (BATCH_ROWS, 4)
    assert predictions.sum() == ((rows.labels != -100) & (rows.segments >= 0)).sum()
    loss = train(engine, range(1))[0][0]
    np.testing.assert_allclose(nats.sum() / predictions.sum(), loss, rtol=1e-6)
    fresh = make(1, "fp32")
    assert train(fresh, range(1))[0][0] == loss
    assert any(not torch.equal(a, b) for a, b in zip(before, state_of(engine), strict=True))
    engine.close()
    fresh.close()


def test_training_can_start_from_given_weights(tmp_path: Path) -> None:
    engine = make(1, "fp32")
    train(engine, range(3))
    checkpoint.snapshot(engine).write(tmp_path / "0")
    weights = checkpoint.read_full_weights([tmp_path / "0"])
    config = EngineConfig(precision="fp32", batch_tokens=BATCH_ROWS * MODEL.row_tokens, micro_batch_rows=2)
    other = start(MODEL, VOCAB, config, OptimConfig(), seed=1, weights=weights)
    np.testing.assert_array_equal(other.evaluate(global_batch(0))[0], engine.evaluate(global_batch(0))[0])
    engine.close()
    other.close()


def test_a_batch_that_cannot_be_split_says_what_would_work() -> None:
    config = EngineConfig(batch_tokens=8192, workers=3)
    with pytest.raises(ValueError) as error:
        config.check_even(3, 256)
    assert str(error.value) == (
        "engine.batch_tokens=8192 cannot be split over 3 workers in rows of 256 tokens: "
        "use 1, 2 or 4 workers, or batch_tokens=8448."
    )
    with pytest.raises(ValueError, match="batch_tokens=256"):
        EngineConfig(batch_tokens=100).batch_rows(256)


def test_workers_that_do_not_divide_the_batch_have_room_for_all_of_it() -> None:
    config = EngineConfig(batch_tokens=16 * 256, micro_batch_rows=4, workers=(1, 4))
    assert config.split(3, 256) == (2, 3)  # 6 rows each, the last worker 4 and 2 empty ones


def test_a_loss_above_the_limit_changes_nothing() -> None:
    for stage in STAGES:
        engine = make(stage, "fp32")
        loss = train(engine, range(1))[0][0]
        before = state_of(engine)
        rows = global_batch(1)
        predictions = int((rows.labels != -100).sum())
        assert engine.step(rows, predictions, 1e-3, most_loss=loss / 2).skipped
        assert all(torch.equal(a, b) for a, b in zip(before, state_of(engine), strict=True))
        assert not engine.step(rows, predictions, 1e-3, most_loss=loss * 2).skipped
        engine.close()


def test_the_probe_knows_the_weights_whatever_the_stage_and_the_micro_batch() -> None:
    found = []
    for stage in STAGES:
        engine = make(stage, "fp32")
        untrained = engine.probe()
        assert engine.probe() == untrained
        train(engine, range(1))
        assert abs(engine.probe() - untrained) > 1e-3
        found.append((untrained, engine.probe()))
        engine.close()
    np.testing.assert_allclose(found, [found[0]] * len(found), rtol=1e-6)


@given(
    world_size=st.integers(1, 16),
    accumulation=st.integers(1, 9),
    micro=st.integers(1, 9),
    row_tokens=st.sampled_from([8, 256, 1000]),
    most=st.integers(1, 20),
)
def test_a_split_covers_the_batch_with_the_largest_micro_batch(
    world_size: int, accumulation: int, micro: int, row_tokens: int, most: int
) -> None:
    rows = world_size * accumulation * micro
    config = EngineConfig(batch_tokens=rows * row_tokens, micro_batch_rows=most)
    steps, size = config.split(world_size, row_tokens)
    assert steps * size * world_size == rows == config.batch_rows(row_tokens)
    assert size <= most
    mine = rows // world_size
    assert not any(mine % larger == 0 for larger in range(size + 1, min(most, mine) + 1))


def test_world_sizes_are_the_even_splits_of_the_range() -> None:
    assert EngineConfig(batch_tokens=12 * 256, workers=(1, 7)).world_sizes(256) == [1, 2, 3, 4, 6]
    with pytest.raises(ValueError, match="workers="):
        EngineConfig(workers=(3, 2))


def test_precision_is_what_was_asked_for() -> None:
    assert resolve_precision("bf16") == "bf16"
    assert resolve_precision("fp32") == "fp32"
    assert resolve_precision("auto") in ("bf16", "fp32")
