"""What fits on one GPU, and how few GPUs are enough?

Model states as the ZeRO paper counts them, activations as our model keeps them, and what DeepSpeed allocates beside
them as `models/engine/zero.py` configures it. On an H200 the sum was right to 1.4 % for two models (docs/gpu.md); the
margin, `FRAGMENTATION` and `CONTEXT_BYTES`, was not measured. Tensor and pipeline parallelism and offloading are left
out, for Headrace has none.
"""

from bisect import bisect_left
from collections.abc import Callable, Sequence
from typing import NamedTuple, TypedDict

from cluster.planner.config import MOST_GPUS, PlanConfig, show_count
from cluster.planner.formulas import ADAM_BYTES, MOMENTUM_BYTES, activation_bytes, model_shape, zero_bytes
from cluster.planner.gpus import GPUS, Gpu

BUCKET = 500_000_000  # elements DeepSpeed reduces at once; 8 bytes each: two in bf16, and one in float32 to send
LIVE_PARAMETERS = 1_000_000_000  # of ZeRO-3: gathered weights it keeps, in bf16
CONTEXT_BYTES, FRAGMENTATION = 0.75e9, 0.07
MOST_MICRO_ROWS = 64
ENOUGH_TOKENS = 8192  # a micro batch of so many keeps a GPU busy
STAGES = range(4)


class Case(NamedTuple):
    """The run asked about, on so many GPUs of one kind."""

    config: PlanConfig
    gpu: str
    gpus: int

    @property
    def kind(self) -> Gpu:
        """What the GPU holds, reaches and costs."""
        return GPUS[self.gpu]

    @property
    def shape(self) -> tuple[int, int]:
        """(layers, width) as given, else the customary ones."""
        layers, width = model_shape(self.config.parameters)
        return self.config.layers or layers, self.config.width or width

    @property
    def trained(self) -> int:
        """Parameters that train."""
        return self.config.trained or self.config.parameters

    @property
    def state_bytes(self) -> float:
        """Bytes of float32 weights and moments of a parameter that trains; with Muon, tables have AdamW's."""
        if self.config.optimizer == "adamw":
            return ADAM_BYTES
        tables = self.config.vocabulary * self.shape[1] if self.config.optimizer == "muon" else 0
        has_two = min(1.0, tables / self.config.parameters) if self.config.trained is None else 0.0
        return MOMENTUM_BYTES + (ADAM_BYTES - MOMENTUM_BYTES) * has_two

    @property
    def share_rows(self) -> int:
        """Rows of a step that fall on one GPU, at least 1."""
        return max(1, self.config.batch_tokens // self.config.row_tokens // self.gpus)


class Memory(TypedDict):
    """Decimal GB on one GPU, whether they are there, and the rows of a micro batch that they are for."""

    states: float
    activations: float
    buffers: float
    total: float
    fits: bool
    micro_batch_rows: int


def memory_gb(case: Case, stage: int, rows: int | None = None) -> Memory:
    """Return decimal GB on one GPU: states, activations, buffers, the total with its margin, and whether it fits.

    rows: of a micro batch; absent: as configured, else the largest power of two up to the GPU's share that fits.
    """
    rows = rows or case.config.micro_batch_rows
    if rows is None:
        sizes = [2**n for n in range(7) if 2**n <= min(case.share_rows, MOST_MICRO_ROWS)]
        rows = next((n for n in reversed(sizes) if memory_gb(case, stage, n)["fits"]), 1)
    config, parameters = case.config, case.config.parameters
    states = zero_bytes(parameters, case.gpus, stage, case.trained, case.state_bytes)
    activations = activation_bytes(rows * config.row_tokens, *case.shape, config.vocabulary, bool(config.recompute))
    buffers = buffer_bytes(parameters, case.gpus, stage, case.trained)
    total = (states + activations + buffers) * (1 + FRAGMENTATION) + CONTEXT_BYTES
    return {
        "states": states / 1e9,
        "activations": activations / 1e9,
        "buffers": buffers / 1e9,
        "total": total / 1e9,
        "fits": total / 1e9 <= case.kind.memory_gb,
        "micro_batch_rows": rows,
    }


def buffer_bytes(parameters: float, ranks: int, stage: int, trained: float | None = None) -> float:
    """Return what DeepSpeed holds beside states: reduce buckets, float32 gradients, gathered weights.

    From ZeRO-1 on gradients are summed in float32, 2 bytes more than the paper counts; sharded from ZeRO-2 on.
    """
    trained = parameters if trained is None else trained
    wider = 0.0 if stage == 0 else 2 * trained / (ranks if stage >= 2 else 1)
    gathered = 2 * min(LIVE_PARAMETERS, parameters) if stage == 3 else 0
    return 8 * min(BUCKET, trained) + wider + gathered


def best_stage(case: Case) -> tuple[int, int] | None:
    """Return (ZeRO stage, micro batch rows) to train with, or None where nothing fits.

    The lowest stage with micro batches of 8,192 tokens or the GPU's whole share of a step, else the one with the
    largest: stages 0-2 move the same bytes, stage 3 half as much again.
    """
    fitting = {stage: cell["micro_batch_rows"] for stage in STAGES if (cell := memory_gb(case, stage))["fits"]}
    if not fitting:
        return None
    enough = min(max(1, ENOUGH_TOKENS // case.config.row_tokens), case.share_rows)
    stage = next((s for s, rows in fitting.items() if rows >= enough), max(fitting, key=lambda s: fitting[s]))
    return stage, fitting[stage]


def fewest_gpus(config: PlanConfig, gpu: str, enough: Callable[[Case], bool]) -> int | None:
    """Return the fewest GPUs that hold the model and are `enough`: 1, 2, 4, or whole servers of 8; None if none are.

    `enough` must not become false as GPUs are added. No more are tried than there are rows in a step.
    """
    most = most_gpus(config)
    few: Sequence[int] = [n for n in (1, 2, 4) if n <= most]
    for counts in (few, range(8, most + 1, 8)):
        found = bisect_left(counts, True, key=lambda n: holds(Case(config, gpu, n)) and enough(Case(config, gpu, n)))
        if found < len(counts):
            return counts[found]
    return None


def most_gpus(config: PlanConfig) -> int:
    """Return how many GPUs a step can use: one for each of its rows, in whole servers."""
    rows = min(MOST_GPUS, max(1, config.batch_tokens // config.row_tokens))
    return rows - rows % 8 if rows > 8 else rows


def holds(case: Case) -> bool:
    """Does the model fit at any stage, with the smallest micro batch?"""
    return any(memory_gb(case, stage, case.config.micro_batch_rows or 1)["fits"] for stage in STAGES)


def settle_batch(config: PlanConfig, gpu: str) -> PlanConfig:
    """Decide on recomputation where that was left open: only where the model fits with it and not without."""
    if config.recompute is not None:
        return config
    with_it = config.model_copy(update={"recompute": True})
    gpus = config.gpus or most_gpus(config)
    needed = not holds(Case(config, gpu, gpus)) and holds(Case(with_it, gpu, gpus))
    return config.model_copy(update={"recompute": needed})


def what_would_fit(config: PlanConfig, gpu: str) -> str:
    """Say what would make the model fit on this kind of GPU, however many there are, or which kind would hold it."""
    tight = config.model_copy(update={"recompute": True})
    lengths = [2**n for n in range(20, 6, -1) if 2**n < config.row_tokens]
    ways: list[tuple[str, PlanConfig, str]] = [("plan.recompute=true", tight, gpu)]
    ways += [("plan.micro_batch_rows=1", config.model_copy(update={"micro_batch_rows": 1}), gpu)]
    ways += [(f"plan.row_tokens={n}", config.model_copy(update={"row_tokens": n}), gpu) for n in lengths]
    ways += [(f"plan.gpu={name}", config, name) for name in GPUS]
    short = [(f"plan.recompute=true plan.row_tokens={n}", {"row_tokens": n}) for n in lengths]
    both = [(said, tight.model_copy(update=change), gpu) for said, change in short]
    mends: dict[str, str] = {}  # the first of each kind: the longest rows, the smallest GPU
    for said, changed, kind in (way for several in (ways, both) for way in several):
        if said not in mends.values() and not (mends and said.count("=") > 1) and _fits_ever(changed, kind):
            mends.setdefault(said.partition("=")[0] + str(said.count("=")), said)
    least = memory_gb(Case(config, gpu, MOST_GPUS), 3, config.micro_batch_rows or 1)["total"]
    return (
        f"{show_count(config.parameters)} parameters in rows of {config.row_tokens} tokens need {least:,.0f} GB on "
        f"each {gpu}, which has {GPUS[gpu].memory_gb:g}, however many there are: use "
        f"{' or '.join(mends.values()) or 'a smaller model'}"
    )


def _fits_ever(config: PlanConfig, gpu: str) -> bool:
    return holds(Case(config, gpu, max(most_gpus(config), config.gpus or 1)))
