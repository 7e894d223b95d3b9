"""Does training go on from a checkpoint as if nothing had happened, at any world size and ZeRO stage?"""

import hashlib
import json
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import safe_open

from cluster.rows import Rows
from models.config import EngineConfig, OptimConfig
from models.engine import checkpoint, zero
from models.engine.checkpoint import read_full_weights, restore_engine, snapshot, weights_sha256
from models.engine.engine import start
from models.kinds.transformer import Transformer, initialise
from tests.models.engine.test_engine import BATCH_ROWS, MODEL, STAGES, VOCAB, make, part_of, spawn, state_of, train

pytestmark = pytest.mark.slow

PRECISIONS = ("fp32", "bf16")
KEPT = ("weight", "exp_avg", "exp_avg_sq")
STEPS = 3  # trained before a checkpoint
# The next loss after a change of world size or stage: only the order of additions differs (and bf16 rounding
# of partial sums); the same world size and stage is compared bit by bit.
TOLERANCE = {"fp32": 1e-6, "bf16": 1e-4}


def files(directory: Path) -> list[Path]:
    """List a checkpoint's files."""
    return sorted(directory.glob("*.safetensors"))


def save(engine: Any, directory: Path) -> None:
    """Write this rank's file and wait for the others."""
    directory.mkdir(parents=True, exist_ok=True)
    snapshot(engine).write(directory / f"{torch.distributed.get_rank()}.safetensors")
    torch.distributed.barrier()


def full_state(directory: Path) -> dict[str, torch.Tensor]:
    """Assemble weights and moments of a checkpoint without the reader under test."""
    pieces: dict[str, list[tuple[int, torch.Tensor]]] = {}
    for path in files(directory):
        with safe_open(path, framework="pt") as file:
            starts = json.loads(file.metadata()["starts"])
            for key in file.keys():  # noqa: SIM118
                pieces.setdefault(key, []).append((starts[key.split("|")[0]], file.get_tensor(key)))
    return {
        key: torch.cat([tensor for _, tensor in sorted(parts, key=lambda p: p[0])]) for key, parts in pieces.items()
    }


def assert_same_state(one: Path, other: Path) -> None:
    """Compare two checkpoints bit by bit."""
    first, second = full_state(one), full_state(other)
    assert first.keys() == second.keys()
    for key, tensor in first.items():
        assert torch.equal(tensor, second[key]), f"{key} of {one} and {other} differ"


def train_and_save(stage: int, precision: str, directory: Path) -> None:
    """Train, checkpoint, go on, and note the losses and state that follow."""
    engine = make(stage, precision)
    train(engine, range(STEPS))
    save(engine, directory)
    after = train(engine, range(STEPS, STEPS + 2))
    rank = torch.distributed.get_rank()
    torch.save({"after": after, "state": state_of(engine)}, directory / f"{rank}.after")
    engine.close()


def resume_and_compare(stage: int, precision: str, source: Path, target: Path, exact: bool) -> None:
    """Restore `source` into a fresh engine, save it again as `target`, and compare what follows."""
    engine = make(stage, precision)
    train(engine, range(90, 91))  # some other history, to be forgotten
    restore_engine(engine, files(source))
    save(engine, target)
    assert_same_state(source, target)
    rank = torch.distributed.get_rank()
    after = train(engine, range(STEPS, STEPS + 2))
    expected = torch.load(source / f"{rank if exact else 0}.after")
    case = f"{source} -> {target}"
    if exact:
        assert after == expected["after"], case
        same = [torch.equal(a, b) for a, b in zip(state_of(engine), expected["state"], strict=True)]
        assert all(same), f"{case}: training after restore differs from training without"
    losses = [[step[0] for step in curve] for curve in (after, expected["after"])]
    np.testing.assert_allclose(*losses, rtol=TOLERANCE[precision], err_msg=case)
    engine.close()


def in_two(rank: int, root: str) -> None:
    """1 -> 2 at every stage; 2 -> 2 at every stage and precision; stages crossed."""
    base = Path(root)
    for stage in STAGES:
        resume_and_compare(stage, "fp32", base / f"one-{stage}-fp32", base / f"one-two-{stage}", exact=False)
    resume_and_compare(1, "bf16", base / "one-1-bf16", base / "one-two-bf16", exact=False)
    for precision in PRECISIONS:
        for stage in STAGES:
            train_and_save(stage, precision, base / f"two-{stage}-{precision}")
            resume_and_compare(
                stage,
                precision,
                base / f"two-{stage}-{precision}",
                base / f"again-{stage}-{precision}",
                exact=True,
            )
    for old, new in ((1, 3), (3, 0), (0, 2), (2, 1)):
        resume_and_compare(new, "bf16", base / f"two-{old}-bf16", base / f"cross-{old}-{new}", exact=False)


def in_four(rank: int, root: str) -> None:
    """1 -> 4 and 2 -> 4, also with a change of stage."""
    base = Path(root)
    for stage in (1, 2, 3):
        resume_and_compare(stage, "fp32", base / f"one-{stage}-fp32", base / f"four-{stage}", exact=False)
    resume_and_compare(3, "bf16", base / "two-1-bf16", base / "four-bf16", exact=False)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Checkpoints of one worker and of two, every resume on two already compared."""
    base = tmp_path_factory.mktemp("checkpoints")
    for stage in STAGES:
        train_and_save(stage, "fp32", base / f"one-{stage}-fp32")
    train_and_save(1, "bf16", base / "one-1-bf16")
    spawn(2, in_two, base, str(base))
    return base


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("precision", PRECISIONS)
def test_two_workers_checkpoint_resumes_in_one(root: Path, tmp_path: Path, stage: int, precision: str) -> None:
    resume_and_compare(stage, precision, root / f"two-{stage}-{precision}", tmp_path, exact=False)


@pytest.mark.parametrize("stage", STAGES)
def test_one_worker_resumes_bit_by_bit(root: Path, tmp_path: Path, stage: int) -> None:
    resume_and_compare(stage, "fp32", root / f"one-{stage}-fp32", tmp_path, exact=True)


def test_one_and_two_workers_checkpoints_resume_in_four(root: Path) -> None:
    spawn(4, in_four, root, str(root))


def test_every_element_is_written_exactly_once(root: Path) -> None:
    for stage in STAGES:
        directory = root / f"two-{stage}-fp32"
        model = Transformer(MODEL, VOCAB)
        state = full_state(directory)
        assert state.keys() == {f"{name}|{kind}" for name, _ in model.named_parameters() for kind in KEPT}
        for name, parameter in model.named_parameters():
            assert all(state[f"{name}|{kind}"].numel() == parameter.numel() for kind in KEPT)
    sizes = [path.stat().st_size for path in files(root / "two-0-fp32")]
    assert min(sizes) < 1000 < max(sizes), "at ZeRO-0 only rank 0 writes the replicated state"


def test_the_hash_of_the_weights_does_not_depend_on_world_size_or_stage(root: Path) -> None:
    copies = ("two-3-bf16", "again-3-bf16", "cross-3-0")
    assert len({weights_sha256(files(root / copy)) for copy in copies}) == 1
    assert weights_sha256(files(root / "one-1-fp32")) == weights_sha256(files(root / "four-1"))
    assert weights_sha256(files(root / "one-1-bf16")) != weights_sha256(files(root / "one-1-fp32"))


def test_full_weights_have_the_shapes_of_the_model(root: Path) -> None:
    weights = read_full_weights(files(root / "two-3-fp32")[::-1])
    model = Transformer(MODEL, VOCAB)
    assert {n: w.shape for n, w in weights.items()} == {n: p.shape for n, p in model.named_parameters()}
    assert all(weight.dtype == torch.float32 for weight in weights.values())


def test_initial_weights_do_not_depend_on_the_workers(root: Path, tmp_path: Path) -> None:
    model = Transformer(MODEL, VOCAB)
    initialise(model, 7)
    expected = checkpoint.hash_weights(iter(sorted((n, p.detach()) for n, p in model.named_parameters())))
    engine = make(3, "fp32")
    save(engine, tmp_path)
    engine.close()
    assert weights_sha256(files(tmp_path)) == expected


def test_a_file_reports_its_own_hash_and_size(tmp_path: Path) -> None:
    engine = make(1, "fp32")
    path = tmp_path / "0.safetensors"
    written = snapshot(engine).write(path)
    engine.close()
    assert written.size_bytes == path.stat().st_size
    assert written.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()


def test_a_snapshot_is_not_touched_by_later_steps_and_its_buffers_serve_again(tmp_path: Path) -> None:
    engine = make(2, "bf16")
    train(engine, range(1))
    first = snapshot(engine)
    first.write(tmp_path / "0.safetensors")
    writer = threading.Thread(target=first.write, args=(tmp_path / "later.safetensors",))
    writer.start()
    train(engine, range(1, 3))
    writer.join()
    assert (tmp_path / "0.safetensors").read_bytes() == (tmp_path / "later.safetensors").read_bytes()
    places = [tensor.data_ptr() for tensor in first.tensors.values()]
    second = snapshot(engine, into=first)
    assert [tensor.data_ptr() for tensor in second.tensors.values()] == places
    second.write(tmp_path / "next.safetensors")
    assert weights_sha256([tmp_path / "next.safetensors"]) != weights_sha256([tmp_path / "0.safetensors"])
    assert second.metadata["steps"] == "3"
    engine.close()


def test_a_missing_or_damaged_file_is_refused_by_name(root: Path, tmp_path: Path) -> None:
    one, two = files(root / "two-1-fp32")
    with pytest.raises(ValueError, match=r"ranks \[0\] .* give the one file of every rank"):
        read_full_weights([one])
    with pytest.raises(ValueError, match="no whole checkpoint"):
        read_full_weights([one, one])
    short = tmp_path / "short.safetensors"
    short.write_bytes(two.read_bytes()[:-100])
    with pytest.raises(ValueError, match=r"short\.safetensors cannot be read"):
        read_full_weights([one, short])
    with pytest.raises(ValueError, match=r"absent\.safetensors cannot be read"):
        read_full_weights([one, tmp_path / "absent.safetensors"])
    foreign = tmp_path / "foreign.safetensors"
    header = json.dumps({"__metadata__": {"format": "pt"}}).encode()
    foreign.write_bytes(len(header).to_bytes(8, "little") + header)
    with pytest.raises(ValueError, match="format=pt"):
        read_full_weights([foreign])


def test_another_model_is_refused_and_the_engine_left_as_it_was(root: Path) -> None:
    config = EngineConfig(precision="fp32", batch_tokens=BATCH_ROWS * MODEL.row_tokens, micro_batch_rows=2)
    engine = start(MODEL.model_copy(update={"width": 32}), VOCAB, config, OptimConfig(), seed=0)
    before = state_of(engine)
    with pytest.raises(ValueError, match=r"embed.weight is \(2048, 32\) in the model and \(2048, 64\)"):
        restore_engine(engine, files(root / "two-1-fp32"))
    assert all(torch.equal(a, b) for a, b in zip(before, state_of(engine), strict=True))
    assert zero.get_steps(engine.deepspeed) == 0
    engine.close()


def test_rows_of_a_rank_are_its_part_of_the_batch() -> None:
    rows = Rows(*(np.arange(8, dtype=np.int32)[:, None].repeat(2, 1) for _ in range(3)))
    halves = [part_of(rows, rank, 2).inputs[:, 0].tolist() for rank in (0, 1)]
    assert halves == [[0, 1, 2, 3], [4, 5, 6, 7]]
