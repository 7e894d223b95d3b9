"""Is what a GPU computes the same as on a CPU, and the same again? Skipped where there is none."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from cluster.rows import Rows
from models.config import EngineConfig, ModelConfig, OptimConfig
from models.device import uncompiled
from models.engine import checkpoint
from models.engine.engine import Engine, start
from models.kinds import attention
from models.kinds.loss import Head
from models.kinds.transformer import Transformer, initialise
from tests.models.kinds.test_loss import documents, row_of
from tests.support.runs import ROOT

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU here"),
]

MODEL = ModelConfig(layers=4, width=256, heads=4, row_tokens=512)
VOCAB, BATCH_ROWS, STEPS = 2000, 16, 4


def batch(step: int) -> Rows:
    """Make rows of a few documents, some with padding."""
    rows = []
    for row in range(BATCH_ROWS):
        lengths = [100 + 13 * row, 7, 180 - 3 * row]
        rows.append(row_of(documents(lengths, seed=BATCH_ROWS * step + row), MODEL.row_tokens))
    return Rows(*(torch.cat(field).int().numpy() for field in zip(*rows, strict=True)))


def engine(stage: int = 1, precision: str = "bf16") -> Engine:
    """Start an engine on the GPU, two micro batches a step."""
    rows = BATCH_ROWS // 2
    config = EngineConfig(
        zero_stage=stage, precision=precision, batch_tokens=BATCH_ROWS * MODEL.row_tokens, micro_batch_rows=rows
    )
    return start(MODEL, VOCAB, config, OptimConfig(weight_decay=0.1), seed=7)


def train(on: Engine, steps: range) -> list[str]:
    """Train, and return loss and gradient norm of every step to the last bit."""
    results = []
    for step in steps:
        rows = batch(step)
        result = on.step(rows, int((rows.labels != -100).sum()), lr=1e-3)
        results.append(f"{result.loss.hex()} {result.grad_norm.hex()}")
    return results


def alone(folder: Path, *arguments: str) -> list[str]:
    """Train in a process of its own: see `main`."""
    argv = [sys.executable, "-m", "tests.system.test_gpu", str(folder), *arguments]
    caches = {name: str(folder / f"{name}-{arguments[0]}") for name in ("TORCHINDUCTOR_CACHE_DIR", "TRITON_CACHE_DIR")}
    env = {**os.environ, **caches}  # none of its own: it must choose the same kernels, not find them
    done = subprocess.run(argv, cwd=ROOT, env=env, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return [line.removeprefix("step ") for line in done.stdout.splitlines() if line.startswith("step ")]


def main(folder: Path, first: int, last: int, stage: int) -> None:
    """Train steps first to last, from the checkpoint of `first` where there is one, and leave one behind."""
    on = engine(stage)
    if first:
        checkpoint.restore_engine(on, [folder / f"{first}.safetensors"])
    for line in train(on, range(first, last)):
        print("step", line)
    checkpoint.snapshot(on).write(folder / f"{last}.safetensors")


@pytest.fixture(scope="module")
def reference() -> Iterator[tuple[Transformer, Transformer]]:
    """The same weights in float32 on the CPU and in bf16 on the GPU."""
    slow, fast = Transformer(MODEL, VOCAB), Transformer(MODEL, VOCAB)
    for model in (slow, fast):
        initialise(model, 3)
    yield slow, fast.to("cuda", torch.bfloat16)


def test_packed_documents_cost_and_teach_the_same_as_on_a_cpu(reference: tuple[Transformer, Transformer]) -> None:
    slow, fast = reference
    inputs, labels, segments = (torch.from_numpy(field) for field in batch(0))
    with uncompiled():
        expected = slow(inputs, segments, labels)
    got = fast(inputs.cuda(), segments, labels.cuda())
    assert attention.use_varlen(MODEL, torch.empty(0, dtype=torch.bfloat16, device="cuda")), "flash attention is gone"
    assert got.item() == pytest.approx(expected.item(), rel=2e-3)
    expected.backward()
    got.backward()
    for (name, one), other in zip(slow.named_parameters(), fast.parameters(), strict=True):
        assert one.grad is not None
        assert other.grad is not None
        error = (other.grad.float().cpu() - one.grad).norm() / one.grad.norm()
        assert error < 3e-2, f"the gradient of {name} is off by {error:.3g}"


def test_a_document_does_not_see_its_neighbours(reference: tuple[Transformer, Transformer]) -> None:
    _, fast = reference
    inputs, labels, segments = row_of(documents([100, 200], seed=5), MODEL.row_tokens)
    changed = inputs.clone()
    changed[:, :100] = 1
    with torch.no_grad():
        one = fast(inputs.cuda(), segments, labels.cuda(), each=True)
        other = fast(changed.cuda(), segments, labels.cuda(), each=True)
    assert torch.equal(one[:, 100:300], other[:, 100:300])
    assert not torch.equal(one[:, :100], other[:, :100])


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_compiled_loss_is_cross_entropy(dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    head = Head(64, VOCAB, 2048).to("cuda", dtype)
    torch.nn.init.normal_(head.weight, std=0.3)
    hidden = torch.randn(6, 50, 64, device="cuda", dtype=dtype, requires_grad=True)
    labels = torch.randint(0, VOCAB, (6, 50), device="cuda")
    labels[0, 3:20] = -100
    got = head(hidden, labels)
    (got * 0.3).backward()
    grads = hidden.grad, head.weight.grad
    exact = [x.detach().double().requires_grad_() for x in (hidden, head.weight)]
    logits = (exact[0] @ exact[1].T)[..., :VOCAB]
    expected = F.cross_entropy(logits.flatten(0, 1), labels.flatten(), ignore_index=-100, reduction="sum")
    (expected * 0.3).backward()
    limit = 1e-5 if dtype == torch.float32 else 2e-2
    assert got.item() == pytest.approx(expected.item(), rel=limit)
    for mine, other in zip(grads, exact, strict=True):
        assert mine is not None
        assert other.grad is not None
        assert (mine.double() - other.grad).norm() / other.grad.norm() < limit


@pytest.mark.parametrize("stage", [0, 1, 2, 3])
def test_a_run_resumes_to_the_bit_in_another_process(stage: int, tmp_path: Path) -> None:
    straight, broken = tmp_path / "straight", tmp_path / "broken"
    straight.mkdir()
    broken.mkdir()
    expected = alone(straight, "0", str(2 * STEPS), str(stage))
    found = alone(broken, "0", str(STEPS), str(stage)) + alone(broken, str(STEPS), str(2 * STEPS), str(stage))
    assert len(expected) == 2 * STEPS
    assert found == expected
    last = f"{2 * STEPS}.safetensors"
    assert (straight / last).read_bytes() == (broken / last).read_bytes()


if __name__ == "__main__":
    main(Path(sys.argv[1]), *map(int, sys.argv[2:5]))
