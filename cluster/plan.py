"""What will a training run need in memory, hours and money, before anything is rented?

The published formulas of formulas.py, applied to one question. The only guess is the MFU: its prior .25-.52
covers 17 of 18 published A100 runs, and the expected .40 was off by 18 % in the median. Left out: tensor
and pipeline parallelism, network limits, evaluation and idle time.
"""

from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from cluster.formulas import (
    activation_bytes,
    checkpoint_interval_s,
    goodput,
    model_shape,
    train_flops,
    zero_bytes,
)
from cluster.gpus import GPUS, PRICES_AS_OF, GpuName
from cluster.units import Duration, Settings

MFU_LOW, MFU_HIGH = 0.25, 0.52
MFU_ERROR = f"MFU prior {MFU_LOW:.2f}-{MFU_HIGH:.2f} covers 17 of 18 published A100 runs"
BUCKET_BYTES = 2 * 500_000_000 * 4  # two fp32 reduce buckets
CONTEXT_BYTES, FRAGMENTATION = 0.75e9, 0.07
COUNTS = {"k": 1e3, "K": 1e3, "M": 1e6, "B": 1e9, "G": 1e9, "T": 1e12}


def parse_count(value: Any) -> Any:
    """Read a count such as parameters or tokens.

    >>> parse_count("7B"), parse_count("162M"), parse_count("1.5T"), parse_count(300)
    (7000000000, 162000000, 1500000000000, 300)
    """
    if not isinstance(value, str):
        return value
    digits, unit = value.strip().replace("_", ""), 1.0
    if digits[-1:] in COUNTS:
        digits, unit = digits[:-1], COUNTS[digits[-1]]
    try:
        return round(float(digits) * unit)
    except (ValueError, OverflowError):
        raise ValueError(f"{value!r} is no count; write for example 162M, 7B or 1T") from None


Count = Annotated[int, BeforeValidator(parse_count), Field(ge=1)]


class PlanConfig(Settings):
    """What `headrace plan` is asked."""

    parameters: Count = Field(7_000_000_000, description="Model parameters: 162M, 7B or a number.")
    tokens: Count = Field(1_000_000_000_000, description="Tokens to train on: 300B, 1T or a number.")
    gpu: GpuName = Field("A100-80", description="GPU type: A100-40, A100-80, H100, H200 or B200.")
    gpus: int = Field(8, ge=1, le=1_000_000, description="Number of GPUs, one worker each.")
    row_tokens: int = Field(2048, ge=1, description="Tokens of a packed row.")
    micro_batch_rows: int | None = Field(None, ge=1, description="Rows of a micro batch; absent: what fits.")
    layers: int | None = Field(None, ge=1, description="Layers; absent: derived from the parameters.")
    width: int | None = Field(None, ge=1, description="Model width; absent: derived from the parameters.")
    vocabulary: int = Field(32_000, ge=2, description="Vocabulary size, for the memory of the logits.")
    recompute: bool = Field(False, description="Recompute activations: 8ND instead of 6ND FLOPs, less memory.")
    attention_flops: bool = Field(False, description="Count the FLOPs of causal attention too (6 L d s a token).")
    mfu: float = Field(0.40, gt=0, le=1, description="Expected share of the peak reached by the FLOPs counted.")
    mfu_low: float = Field(MFU_LOW, gt=0, le=1, description="Pessimistic end of the MFU interval.")
    mfu_high: float = Field(MFU_HIGH, gt=0, le=1, description="Optimistic end of the MFU interval.")
    price_per_hour: float | None = Field(None, ge=0, description="USD a GPU-hour; absent: the table's.")
    purchase_price: float | None = Field(None, ge=0, description="USD a GPU bought, for the break-even.")
    mtbf_hours: float = Field(8000.0, gt=0, description="Mean hours between failures of one GPU.")
    checkpoint_stall: Duration = Field(2.0, ge=0, description="Seconds training stands still for a checkpoint.")
    restart: Duration = Field(120.0, ge=0, description="Seconds from a failure to training again.")


def plan(config: PlanConfig) -> dict[str, Any]:
    """Return memory by ZeRO stage (decimal GB on one GPU), GPU-hours, days, USD and a recommendation.

    low <= expected <= high: at the optimistic, expected and pessimistic MFU, failures included.
    """
    gpu = GPUS[config.gpu]
    price = gpu.price_per_hour if config.price_per_hour is None else config.price_per_hour
    failures = failure_overhead(config)
    hours = {name: train_hours(config, mfu) / (1 - failures["share"]) for name, mfu in _mfus(config).items()}
    memory = {str(stage): memory_gb(config, stage) for stage in range(4)}
    cost = {name: value * price for name, value in hours.items()}
    purchase = gpu.purchase_price if config.purchase_price is None else config.purchase_price
    return {
        "parameters": config.parameters,
        "tokens": config.tokens,
        "gpu": config.gpu,
        "gpus": config.gpus,
        **dict(zip(("layers", "width"), shape(config), strict=True)),
        "memory_gb": memory,
        "gpu_memory_gb": gpu.memory_gb,
        "flops": flops(config),
        "gpu_hours": hours,
        "days": {name: value / config.gpus / 24 for name, value in hours.items()},
        "cost": cost,
        "price_per_hour": price,
        "price_source": f"list of {PRICES_AS_OF}" if config.price_per_hour is None else "plan.price_per_hour",
        "break_even_hours": purchase / price if price else None,
        "recommended": recommend(config, memory),
        "checkpoint_interval_s": failures["interval_s"],
        "failure_overhead_share": failures["share"],
        "chinchilla_tokens": 20 * config.parameters,
        "stated_error": MFU_ERROR,
    }


def memory_gb(config: PlanConfig, stage: int, rows: int | None = None) -> dict[str, Any]:
    """Return decimal GB on one GPU: states, activations, and the total with buckets and fragmentation.

    rows: of a micro batch; absent: as configured, else the largest power of two up to 64 that fits.
    """
    rows = rows or config.micro_batch_rows
    if rows is None:
        fitting = (2**n for n in range(6, -1, -1))
        rows = next((n for n in fitting if memory_gb(config, stage, n)["fits"]), 1)
    states = zero_bytes(config.parameters, config.gpus, stage)
    activations = activation_bytes(rows * config.row_tokens, *shape(config), config.vocabulary, config.recompute)
    buckets = min(BUCKET_BYTES, 8 * config.parameters)
    total = (states + activations + buckets) * (1 + FRAGMENTATION) + CONTEXT_BYTES
    return {
        "states": states / 1e9,
        "activations": activations / 1e9,
        "total": total / 1e9,
        "fits": total / 1e9 <= GPUS[config.gpu].memory_gb,
        "micro_batch_rows": rows,
    }


def shape(config: PlanConfig) -> tuple[int, int]:
    """Return (layers, width) as given, else the customary ones."""
    layers, width = model_shape(config.parameters)
    return config.layers or layers, config.width or width


def flops(config: PlanConfig) -> float:
    """Return the FLOPs of the whole run."""
    layers, width = shape(config)
    attention = layers * width * config.row_tokens if config.attention_flops else 0
    return train_flops(config.parameters, config.tokens, attention, config.recompute)


def train_hours(config: PlanConfig, mfu: float) -> float:
    """Return GPU-hours at a given utilisation, failures not counted."""
    return flops(config) / (GPUS[config.gpu].peak_tflops * 1e12 * mfu * 3600)


def failure_overhead(config: PlanConfig) -> dict[str, float]:
    """Return the best checkpoint interval in seconds and the share of time that failures and stalls cost.

    ValueError if the cluster fails faster than it restarts.
    """
    mtbf_s, stall_s = config.mtbf_hours * 3600 / config.gpus, max(config.checkpoint_stall, 1e-3)
    interval_s = checkpoint_interval_s(stall_s, mtbf_s)
    share = 1 - goodput(interval_s, stall_s, config.restart, mtbf_s)
    if share >= 1:
        raise ValueError(
            f"plan.gpus={config.gpus} fail every {mtbf_s:.0f} s and need {config.restart:g} s to restart: "
            "use fewer GPUs, or raise plan.mtbf_hours"
        )
    return {"interval_s": interval_s, "share": share}


def recommend(config: PlanConfig, memory: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """Choose the lowest ZeRO stage with micro batches of 8,192 tokens, else the one with the largest.

    Stages 0-2 move the same bytes, stage 3 half as much again. What fits nowhere gets the GPUs it would need.
    """
    fitting = {int(stage): cell["micro_batch_rows"] for stage, cell in memory.items() if cell["fits"]}
    if fitting:
        enough = max(1, 8192 // config.row_tokens)
        stage = next((s for s, rows in fitting.items() if rows >= enough), max(fitting, key=lambda s: fitting[s]))
        reason = f"ZeRO-{stage} is the lowest stage with room for micro batches of {fitting[stage]} rows"
        return {
            "zero_stage": stage,
            "micro_batch_rows": fitting[stage],
            "gpus": config.gpus,
            "reason": reason,
        }
    for doubling in range(1, 21):
        wider = config.model_copy(update={"gpus": config.gpus * 2**doubling})
        cell = memory_gb(wider, 3)
        if cell["fits"]:
            reason = f"{config.gpus} {config.gpu} are too few in memory; {wider.gpus} hold it with ZeRO-3"
            return {
                "zero_stage": 3,
                "micro_batch_rows": cell["micro_batch_rows"],
                "gpus": wider.gpus,
                "reason": reason,
            }
    reason = f"one micro batch does not fit on {config.gpu}: set plan.recompute=true or lower plan.row_tokens"
    return {"zero_stage": None, "micro_batch_rows": None, "gpus": None, "reason": reason}


def plan_table(result: dict[str, Any]) -> str:
    """Return the plan as lines a person reads."""
    hours, days, cost = result["gpu_hours"], result["days"], result["cost"]
    lines = [
        f"{result['parameters'] / 1e9:,.3g} B parameters on {result['tokens'] / 1e9:,.4g} B tokens, "
        f"{result['gpus']} x {result['gpu']} ({result['gpu_memory_gb']:g} GB each)",
        "memory GB   states  activations    total  rows",
    ]
    for stage, cell in result["memory_gb"].items():
        lines.append(
            f"  ZeRO-{stage}  {cell['states']:8.1f}  {cell['activations']:11.1f}  {cell['total']:7.1f}"
            f"  {cell['micro_batch_rows']:4d}  {'fits' if cell['fits'] else 'too large'}"
        )
    for name, values, unit in (("GPU-hours", hours, ""), ("days", days, ""), ("cost", cost, " USD")):
        low, middle, high = (f"{values[key]:,.4g}" if values[key] < 1e4 else f"{values[key]:,.0f}" for key in values)
        lines.append(f"{name:<11} {middle}{unit}  (from {low} to {high})")
    lines += [
        f"checkpoint  every {result['checkpoint_interval_s']:,.0f} s; failures cost "
        f"{result['failure_overhead_share']:.2%} of the time",
        f"advice      {result['recommended']['reason']}",
        f"basis       {result['price_per_hour']:g} USD a GPU-hour ({result['price_source']}); {result['stated_error']}",
    ]
    return "\n".join(lines)


def _mfus(config: PlanConfig) -> dict[str, float]:
    """Return the utilisation behind the low, expected and high hours."""
    return {
        "low": max(config.mfu, config.mfu_high),
        "expected": config.mfu,
        "high": min(config.mfu, config.mfu_low),
    }
