"""What can `headrace plan` be asked?

Counts are written as people write them (7B, 1.5T), GPUs are known by name, and what is left open is chosen: the GPU
that costs least, as few of them as hold the model and end in time.
"""

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field

from cluster.planner.gpus import GpuName, parse_gpu
from cluster.units import Duration, Settings

COUNTS = {"k": 1e3, "K": 1e3, "M": 1e6, "B": 1e9, "G": 1e9, "T": 1e12}
MOST_GPUS = 1_000_000


def parse_count(value: object) -> object:
    """Read a count such as parameters or tokens.

    >>> parse_count("7B"), parse_count("162M"), parse_count("1.5T"), parse_count("3e11"), parse_count(300)
    (7000000000, 162000000, 1500000000000, 300000000000, 300)
    """
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if not isinstance(value, str):
        return value
    digits, unit = value.strip().replace("_", "").replace(",", ""), 1.0
    if digits[-1:] in COUNTS:
        digits, unit = digits[:-1], COUNTS[digits[-1]]
    try:
        return round(float(digits) * unit)
    except (ValueError, OverflowError):
        raise ValueError(f"{value!r} is no count; write for example 162M, 7B or 1T") from None


def show_count(count: int) -> str:
    """Write a count as `parse_count` reads it, with three digits.

    >>> show_count(7_000_000_000), show_count(1_008_000_000_000), show_count(300)
    ('7B', '1.01T', '300')
    """
    for unit in ("T", "B", "M"):
        if count >= COUNTS[unit]:
            return f"{count / COUNTS[unit]:.3g}{unit}"
    return str(count)


def _prices(value: object) -> dict[str, float]:
    """Read prices by GPU; the names as leniently as elsewhere."""
    if not isinstance(value, dict):
        raise ValueError(f"{value!r} gives no prices; write a USD price for each GPU, for example {{H100: 2.10}}")
    for name, price in value.items():
        if isinstance(price, bool) or not isinstance(price, int | float) or not 0 <= price < float("inf"):
            raise ValueError(f"{name}: {price!r} is no price; write USD, from 0")
    return {parse_gpu(name): float(price) for name, price in value.items()}


Count = Annotated[int, BeforeValidator(parse_count), Field(ge=1)]
Prices = Annotated[dict[str, float], BeforeValidator(_prices)]


class PlanConfig(Settings):
    """What `headrace plan` is asked."""

    parameters: Count = Field(7_000_000_000, description="Model parameters: 162M, 7B or a number.")
    trained: Count | None = Field(None, description="Parameters that train; absent: all. With LoRA, its matrices.")
    optimizer: Literal["adamw", "lion", "muon"] = Field(
        "adamw", description="Optimizer: of a parameter, adamw keeps two moments, lion and muon one."
    )
    tokens: Count | None = Field(
        None, description="Tokens to train on, replay included: 300B, 1T; absent: 20 a parameter."
    )
    gpu: GpuName | None = Field(None, description="GPU type; absent: the cheapest that published runs stand behind.")
    gpus: int | None = Field(
        None, ge=1, le=MOST_GPUS, description="Number of GPUs, one worker each; absent: as few as end in plan.days."
    )
    days: float = Field(30.0, gt=0, description="Days the run may take, where the number of GPUs is to be chosen.")
    row_tokens: int = Field(2048, ge=1, description="Tokens of a packed row.")
    batch_tokens: Count = Field(
        4_194_304, description="Tokens of a step over all GPUs; it bounds GPUs and micro batch."
    )
    micro_batch_rows: int | None = Field(None, ge=1, description="Rows of a micro batch; absent: what fits.")
    layers: int | None = Field(None, ge=1, description="Layers; absent: derived from the parameters.")
    width: int | None = Field(None, ge=1, description="Model width; absent: derived from the parameters.")
    vocabulary: int = Field(32_000, ge=2, description="Vocabulary size, for the memory of the logits.")
    predicted_tokens: int = Field(
        1, ge=1, le=32, description="Tokens each position predicts; each beyond the next has a layer among parameters."
    )
    recompute: bool | None = Field(
        None, description="Recompute activations: far less memory, a third more work; absent: if it fits no other way."
    )
    mfu: float | None = Field(
        None, gt=0, le=1, description="MFU that your own runs reported (metric `mfu`); absent: that of published runs."
    )
    rent_prices: Prices = Field({}, description="USD a GPU-hour by GPU: {H100: 2.10}; others: the dated list.")
    purchase_prices: Prices = Field({}, description="USD to buy a GPU with its share of the server, by GPU.")
    running_costs: Prices = Field({}, description="USD an hour for power and place of a bought GPU, by GPU.")
    mtbf_hours: float = Field(8000.0, gt=0, description="Mean hours between failures of one GPU.")
    checkpoint_stall: Duration = Field(2.0, ge=0, description="Seconds training stands still for a checkpoint.")
    restart: Duration = Field(120.0, ge=0, description="Seconds from a failure to training again.")
