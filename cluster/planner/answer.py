"""What does a plan tell? The types behind `headrace plan --json`."""

from typing import TypedDict

from cluster.planner.memory import Memory


class Cost(TypedDict):
    """Days and USD from low to high, at which price an hour, and how many published runs stand behind."""

    days: dict[str, float]
    cost: dict[str, float]
    price_per_hour: float
    published_runs: int


class GpuChoice(Cost):
    """How the run would go on so many GPUs of one kind."""

    gpu: str
    gpus: int
    zero_stage: int | None
    micro_batch_rows: int | None
    recompute: bool | None


class Advice(TypedDict):
    """How to train, and why; None where the model fits on no number of these GPUs."""

    zero_stage: int | None
    micro_batch_rows: int | None
    gpus: int | None
    accumulation: int | None
    batch_tokens: int | None
    reason: str


class Deal(TypedDict):
    """Rent, buy or either; hours of each GPU, and USD."""

    advice: str
    break_even_hours: float | None
    hours_needed: dict[str, float]
    purchase_price: float
    running_cost_per_hour: float
    cost_if_bought: dict[str, float]


class PlanAnswer(TypedDict):
    """What a run takes: the answer of `headrace plan --json`."""

    parameters: int
    trained: int
    tokens: int
    gpu: str
    gpus: int
    layers: int
    width: int
    row_tokens: int
    recompute: bool | None
    memory_gb: dict[str, Memory]
    gpu_memory_gb: float
    flops: float
    attention_flops_share: float
    mfu: dict[str, float]
    gpu_hours: dict[str, float]
    days: dict[str, float]
    cost: dict[str, float]
    price_per_hour: float
    price_source: str
    rent_or_buy: Deal
    recommended: Advice
    choices: list[GpuChoice]
    failures_expected: float
    checkpoint_interval_s: float
    failure_overhead_share: float
    goodput: float
    chinchilla_tokens: int
    notes: list[str]
    stated_error: str
