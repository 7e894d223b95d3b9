"""Do Lion and Muon step to the values of a second, simple implementation, at every stage and number of workers?"""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from models.config import OptimConfig
from models.device import micro_batches
from models.engine.checkpoint import CheckpointReader, read_full_weights, restore_engine, snapshot
from models.engine.engine import Engine, join
from models.engine.steps import orthogonal
from models.kinds.building import build
from tests.models.engine.test_engine import LR, MODEL, STAGES, VOCAB, global_batch, make, spawn, state_of, train

pytestmark = pytest.mark.slow

KINDS = ("lion", "muon")
STEPS, DECAY = 3, 0.1
Matrix = NDArray[np.float64]


def plain_orthogonal(matrix: Matrix) -> Matrix:
    """Newton-Schulz as Jordan writes it, in float64: polynomials of the singular values, taken one by one."""
    left, values, right = np.linalg.svd(matrix / np.linalg.norm(matrix), full_matrices=False)
    for _ in range(5):
        values = 3.4445 * values - 4.7750 * values**3 + 2.0315 * values**5
    return left * values @ right


def lion(weight: Matrix, gradient: Matrix, state: dict[str, Matrix], decay: float) -> None:
    """Algorithm 2 of Chen et al. 2023."""
    momentum = state.setdefault("momentum", np.zeros_like(weight))
    update = np.sign(0.95 * momentum + 0.05 * gradient)
    state["momentum"] = 0.98 * momentum + 0.02 * gradient
    weight -= LR * (update + decay * weight)


def adamw(weight: Matrix, gradient: Matrix, state: dict[str, Any], decay: float) -> None:
    """Loshchilov and Hutter 2019."""
    state["step"] = step = state.get("step", 0) + 1
    state["first"] = 0.9 * state.get("first", 0) + 0.1 * gradient
    state["second"] = 0.95 * state.get("second", 0) + 0.05 * gradient**2
    root = np.sqrt(state["second"] / (1 - 0.95**step)) + 1e-8
    weight -= LR * (decay * weight + state["first"] / (1 - 0.9**step) / root)


def muon(weight: Matrix, gradient: Matrix, state: dict[str, Matrix], decay: float) -> None:
    """Jordan et al. 2024, with the size of Liu et al. 2025."""
    state["momentum"] = 0.95 * state.get("momentum", 0) + 0.05 * gradient
    update = plain_orthogonal(0.05 * gradient + 0.95 * state["momentum"])
    weight -= LR * (0.2 * max(weight.shape) ** 0.5 * update + decay * weight)


def plainly_trained(kind: str) -> dict[str, Matrix]:
    """Train without DeepSpeed: gradients by torch, steps in float64."""
    model = build(MODEL, VOCAB, seed=7)
    weights = {name: p.detach().double().numpy() for name, p in model.named_parameters()}
    states: dict[str, dict[str, Any]] = {name: {} for name in weights}
    for number in range(STEPS):
        rows = global_batch(number)
        model.zero_grad()
        for batch in micro_batches(rows, len(rows.inputs)):
            (model(batch.inputs, batch.segments, batch.labels) / int((rows.labels != -100).sum())).backward()
        gradients = {name: p.grad.double().numpy() for name, p in model.named_parameters() if p.grad is not None}
        norm = np.sqrt(sum((gradient**2).sum() for gradient in gradients.values()))
        for name, parameter in model.named_parameters():
            is_matrix, is_table = parameter.ndim == 2, name == "embed.weight"
            step = lion if kind == "lion" else muon if is_matrix and not is_table else adamw
            decay = DECAY if is_matrix and not is_table else 0.0
            step(weights[name], gradients[name] / max(1.0, norm), states[name], decay)
            parameter.data.copy_(torch.from_numpy(weights[name]))
    return weights


def save(engine: Engine, directory: Path) -> None:
    """Write this rank's file and wait for the others."""
    directory.mkdir(parents=True, exist_ok=True)
    snapshot(engine).write(directory / f"{torch.distributed.get_rank()}.safetensors")
    torch.distributed.barrier()


def files(directory: Path) -> list[Path]:
    """A checkpoint's files."""
    return sorted(directory.glob("*.safetensors"))


def train_and_save(root: Path, world_size: int) -> None:
    """At every stage: train, save, go on; and a fresh engine that is restored goes on alike, to the bit."""
    for kind in KINDS:
        for stage in STAGES:
            case = f"{kind}-{stage}-{world_size}"
            engine = make(stage, "fp32", kind=kind)
            train(engine, range(STEPS))
            save(engine, root / case)
            after, state = train(engine, range(STEPS, STEPS + 2)), state_of(engine)
            engine.close()
            again = make(stage, "fp32", kind=kind)
            train(again, range(90, 91))  # some other history, to be forgotten
            restore_engine(again, files(root / case))
            assert train(again, range(STEPS, STEPS + 2)) == after, case
            assert all(map(torch.equal, state_of(again), state)), case
            again.close()
            torch.save(after, root / f"{case}.after")


def in_two(rank: int, root: str) -> None:
    """Two workers, which then go on with what one trained, at another stage too."""
    base = Path(root)
    train_and_save(base, 2)
    for kind in KINDS:
        for old, new in ((0, 3), (1, 1), (2, 0), (3, 2)):
            go_on(base, f"{kind}-{old}-1", kind, new)


def go_on(root: Path, case: str, kind: str, stage: int) -> None:
    """Restore what another number of workers, or another stage, saved, and compare the losses that follow."""
    engine = make(stage, "fp32", kind=kind)
    restore_engine(engine, files(root / case))
    after = train(engine, range(STEPS, STEPS + 2))
    expected = torch.load(root / f"{case}.after")
    np.testing.assert_allclose([s[0] for s in after], [s[0] for s in expected], rtol=1e-5, err_msg=case)
    engine.close()


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Checkpoints of one worker and of two; every resume on as many workers is compared, and 1 to 2."""
    base = tmp_path_factory.mktemp("steps")
    join(threads=1)
    train_and_save(base, 1)
    spawn(2, in_two, base, str(base))
    return base


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("world_size", [1, 2])
def test_every_stage_steps_to_the_values_of_a_simple_implementation(root: Path, kind: str, world_size: int) -> None:
    """Lion takes the sign of sums that may be zero but for rounding, so that a few weights step the other way."""
    expected = plainly_trained(kind)
    for stage in STAGES:
        weights = read_full_weights(files(root / f"{kind}-{stage}-{world_size}"))
        apart = {name: np.abs(weights[name].double().numpy() - weight) > 1e-5 for name, weight in expected.items()}
        share = sum(far.sum() for far in apart.values()) / sum(far.size for far in apart.values())
        assert share <= (1e-4 if kind == "lion" else 0), f"ZeRO-{stage}: {share}"


@pytest.mark.parametrize("kind", KINDS)
def test_what_two_workers_trained_goes_on_in_one_and_at_another_stage(root: Path, kind: str) -> None:
    for old, new in ((0, 1), (1, 2), (2, 3), (3, 0)):
        go_on(root, f"{kind}-{old}-2", kind, new)


@pytest.mark.parametrize(("kind", "kinds"), [("lion", {"weight", "momentum"}), ("muon", {"weight", "momentum"})])
def test_a_checkpoint_holds_the_states_of_its_optimizer_alone(root: Path, kind: str, kinds: set[str]) -> None:
    with CheckpointReader(files(root / f"{kind}-3-2")) as stored:
        keys = {tuple(key.split("|")) for contents in stored.contents for key in contents.places}
    found = {kept for name, kept in keys if name == "layers.0.q.weight"}
    assert found == kinds
    table = {kept for name, kept in keys if name == "embed.weight"}
    assert table == (kinds if kind == "lion" else {"weight", "exp_avg", "exp_avg_sq"})


@pytest.mark.parametrize("shape", [(8, 24), (24, 8), (16, 16)])
def test_a_matrix_is_made_orthogonal_as_torch_does_it(shape: tuple[int, int]) -> None:
    matrix = torch.randn(shape, generator=torch.Generator().manual_seed(1))
    expected = plain_orthogonal(matrix.double().numpy())
    np.testing.assert_allclose(orthogonal(matrix).double().numpy(), expected, atol=1e-5)
    weight = torch.nn.Parameter(torch.zeros(shape))
    weight.grad = matrix
    torch.optim.Muon([weight], lr=1.0, weight_decay=0.0, momentum=0.0, adjust_lr_fn="match_rms_adamw").step()
    size = 0.2 * max(shape) ** 0.5
    torch.testing.assert_close(weight.data, -size * orthogonal(matrix.bfloat16()).float(), atol=0.05 * size, rtol=0)


def test_what_fits_an_optimizer_is_its_default_and_what_it_does_not_read_is_refused() -> None:
    assert OptimConfig(kind="lion").weight_decay * OptimConfig(kind="lion").lr == pytest.approx(0.1 * 3e-4)
    assert OptimConfig(kind="lion", lr=2e-4).lr == 2e-4
    assert OptimConfig(kind="muon") == OptimConfig(kind="muon", lr=3e-4, weight_decay=0.1)
    with pytest.raises(ValueError, match=r"momentum=0\.9 is not read by kind=lion; leave it out, or use muon"):
        OptimConfig(kind="lion", momentum=0.9)
    with pytest.raises(ValueError, match="eps=1e-06 is not read by kind=lion"):
        OptimConfig(kind="lion", eps=1e-6)
