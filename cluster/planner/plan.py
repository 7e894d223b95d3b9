"""What will a training run need in memory, hours and money, before anything is rented?

The published formulas of formulas.py, applied to one question: what fits (plan_memory.py), how long it takes and how
sure that is (plan_time.py), and here what it costs, on which GPUs, rented or bought. Method and sources: docs/plan.md.
"""

from cluster.planner.answer import Advice, Cost, Deal, GpuChoice, PlanAnswer
from cluster.planner.config import Count, PlanConfig, show_count
from cluster.planner.duration import Range, days, failures, flops, gpu_hours, mfu_range, stated_error, tokens
from cluster.planner.gpus import GPUS, PRICES_AS_OF
from cluster.planner.memory import (
    STAGES,
    Case,
    best_stage,
    fewest_gpus,
    holds,
    memory_gb,
    most_gpus,
    settle_batch,
    what_would_fit,
)

__all__ = ["Count", "PlanConfig", "memory_gb", "plan"]


FEWEST_STEPS = 10_000  # a rule of thumb: published runs of all sizes took more
LISTED = f"list of {PRICES_AS_OF}: {{}}"


def plan(config: PlanConfig) -> PlanAnswer:
    """Return memory by ZeRO stage (decimal GB on one GPU), GPU-hours, days, USD and what to do.

    low <= expected <= high: at the high, expected and low MFU, failures included. ValueError says what would help where
    nothing fits or a cluster fails faster than it restarts.
    """
    case = choose(config)
    config = case.config
    if case.gpus == config.gpus:
        _check_progress(case)
    hours, lost, rent = gpu_hours(case), failures(case), price(config.rent_prices, case.gpu, case.kind.rent)
    return {
        "parameters": config.parameters,
        "trained": case.trained,
        "tokens": tokens(case),
        "gpu": case.gpu,
        "gpus": case.gpus,
        "layers": case.shape[0],
        "width": case.shape[1],
        "row_tokens": config.row_tokens,
        "recompute": config.recompute,
        "memory_gb": {str(stage): memory_gb(case, stage) for stage in STAGES},
        "gpu_memory_gb": case.kind.memory_gb,
        "flops": flops(case),
        "attention_flops_share": 1 - flops(case, attention=False) / flops(case),
        "mfu": mfu_range(case)._asdict(),
        "gpu_hours": hours._asdict(),
        "days": hours.times(1 / case.gpus / 24)._asdict(),
        "cost": hours.times(rent)._asdict(),
        "price_per_hour": rent,
        "price_source": "plan.rent_prices" if case.gpu in config.rent_prices else LISTED.format(case.kind.source),
        "rent_or_buy": rent_or_buy(case),
        "recommended": recommend(case),
        "choices": [found for name in GPUS if (found := choice(config, name))],
        "failures_expected": hours.expected / config.mtbf_hours,
        "checkpoint_interval_s": lost.interval_s,
        "failure_overhead_share": lost.share,
        "goodput": 1 - lost.share,
        "chinchilla_tokens": 20 * config.parameters,
        "notes": notes(case),
        "stated_error": stated_error(case),
    }


def price(own: dict[str, float], gpu: str, listed: float) -> float:
    """Return one's own price of a GPU, else the listed one."""
    return own.get(gpu, listed)


def choose(config: PlanConfig) -> Case:
    """Return the case to plan with: the GPU asked for, else the cheapest that published runs stand behind.

    ValueError where nothing fits and nobody said how many GPUs there are.
    """
    kinds = [config.gpu] if config.gpu else [name for name in GPUS if GPUS[name].published_runs]
    if config.gpus:
        cases = [Case(settle_batch(config, name), name, config.gpus) for name in kinds]
        cases = [case for case in cases if holds(case)] or cases
        found = [(_cost(case), case) for case in cases]
    else:
        chosen = [one for name in kinds if (one := choice(config, name))]
        found = [(one, Case(settle_batch(config, one["gpu"]), one["gpu"], one["gpus"])) for one in chosen]
    if not found:
        raise ValueError(what_would_fit(config, kinds[-1]))
    return min(found, key=lambda one: one[0]["cost"]["expected"])[1]


def choice(config: PlanConfig, gpu: str) -> GpuChoice | None:
    """Return how the run would go on one kind of GPU, or None where it fits on no number of them.

    As many as asked for if they hold the model, else as few as hold it; none asked for: as few as end in time, or the
    most that a step can use where none do.
    """
    config = settle_batch(config, gpu)
    limit = float("inf") if config.gpus else config.days
    gpus = config.gpus if config.gpus and holds(Case(config, gpu, config.gpus)) else None
    gpus = gpus or fewest_gpus(config, gpu, lambda case: days(case) <= limit or failures(case).share > 0.5)
    if gpus is None and fewest_gpus(config, gpu, lambda case: True):
        gpus = most_gpus(config)
    case = Case(config, gpu, gpus or 0)
    best = best_stage(case) if gpus else None
    if best is None or failures(case).share >= 1:
        return None
    return {
        "gpu": case.gpu,
        "gpus": case.gpus,
        "zero_stage": best[0],
        "micro_batch_rows": best[1],
        "recompute": config.recompute,
        **_cost(case),
    }


def _cost(case: Case) -> Cost:
    _check_progress(case)
    hours, rent = gpu_hours(case), price(case.config.rent_prices, case.gpu, case.kind.rent)
    return {
        "days": hours.times(1 / case.gpus / 24)._asdict(),
        "cost": hours.times(rent)._asdict(),
        "price_per_hour": rent,
        "published_runs": case.kind.published_runs,
    }


def _check_progress(case: Case) -> None:
    """Raise ValueError where the cluster fails faster than it restarts."""
    lost, restart = failures(case), case.config.restart
    if lost.share >= 1:
        raise ValueError(
            f"plan.gpus={case.gpus} fail every {lost.mtbf_s:.0f} s and need {restart:g} s to restart: "
            "use fewer GPUs, or raise plan.mtbf_hours"
        )


def recommend(case: Case) -> Advice:
    """Return how to train: stage, micro batch, accumulation and the step, or how many GPUs it would take.

    What fits on no number of these GPUs gets a reason that says what would, and None for the rest.
    """
    if best := best_stage(case):
        reason = f"ZeRO-{best[0]} is the lowest stage with room for micro batches of {_rows(best[1])}"
        return _settings(case, *best, reason)
    gpus = fewest_gpus(case.config, case.gpu, lambda wider: True)
    wider = case._replace(gpus=gpus or 0)
    if gpus is None or (best := best_stage(wider)) is None:
        reason = what_would_fit(case.config, case.gpu)
        return {
            "zero_stage": None,
            "micro_batch_rows": None,
            "gpus": None,
            "accumulation": None,
            "batch_tokens": None,
            "reason": reason,
        }
    reason = f"{case.gpus} {case.gpu} are too few in memory; {gpus} hold it with ZeRO-{best[0]}: plan.gpus={gpus}"
    with_it = case.config.model_copy(update={"recompute": True})
    fewer = fewest_gpus(with_it, case.gpu, lambda wider: True)
    if fewer and fewer < gpus:
        reason += f", or plan.gpus={fewer} with plan.recompute=true"
    return _settings(wider, *best, reason)


def _settings(case: Case, stage: int, rows: int, reason: str) -> Advice:
    accumulation = max(1, round(case.config.batch_tokens / (case.gpus * rows * case.config.row_tokens)))
    return {
        "zero_stage": stage,
        "micro_batch_rows": rows,
        "gpus": case.gpus,
        "accumulation": accumulation,
        "batch_tokens": case.gpus * rows * accumulation * case.config.row_tokens,
        "reason": reason,
    }


def rent_or_buy(case: Case) -> Deal:
    """Return from how many hours of use a bought GPU is cheaper, how many this run needs, and what follows.

    A bought GPU costs its price at once and power and place by the hour; what it is worth afterwards is not counted.
    """
    config, needed = case.config, gpu_hours(case).times(1 / case.gpus)
    rent = price(config.rent_prices, case.gpu, case.kind.rent)
    purchase = price(config.purchase_prices, case.gpu, case.kind.purchase)
    running = price(config.running_costs, case.gpu, case.kind.running)
    even = purchase / (rent - running) if rent > running else None
    if even is None or needed.high < even:
        advice = "rent"
    else:
        advice = "buy" if needed.low > even else "either"
    return {
        "advice": advice,
        "break_even_hours": even,
        "hours_needed": needed._asdict(),
        "purchase_price": purchase,
        "running_cost_per_hour": running,
        "cost_if_bought": Range(*(case.gpus * (purchase + hours * running) for hours in needed))._asdict(),
    }


def notes(case: Case) -> list[str]:
    """Return what a reader of the plan should know about it, a sentence each."""
    found, config = [], case.config
    rows = config.batch_tokens // config.row_tokens
    if case.gpus > rows:
        found.append(
            f"{case.gpus} GPUs with a row each are {case.gpus * config.row_tokens:,} tokens a step, more than "
            f"plan.batch_tokens={config.batch_tokens:,}: use {max(1, rows)} GPUs at most, or larger steps."
        )
    if config.gpus is None and days(case) > config.days:
        found.append(
            f"No number of {case.gpu} ends in plan.days={config.days:g}: a step has {rows:,} rows, so more than "
            f"{case.gpus:,} GPUs have nothing to do; allow {days(case):,.0f} days or raise plan.batch_tokens."
        )
    if config.gpus is not None and days(case) > config.days:
        found.append(
            f"{days(case):,.0f} days are more than plan.days={config.days:g}: take more than {case.gpus:,} GPUs, or "
            "leave plan.gpus out to see how many end in time."
        )
    found += _notes_on_steps(case)
    if config.mfu is None and case.gpu.startswith("H"):
        found.append("Published H100 and H800 runs took longer than expected here: by 5, 7, 36 and 127 %.")
    if config.mfu is None and not case.kind.published_runs:
        found.append(f"No published run on {case.gpu} stands behind these hours; give plan.mfu once you measured it.")
    return found


def _notes_on_steps(case: Case) -> list[str]:
    """Return what is said about the size of a step: too few steps learn badly, and single rows leave a GPU idle."""
    found, config = [], case.config
    num_tokens = tokens(case)
    num_steps = num_tokens // config.batch_tokens
    if num_steps < FEWEST_STEPS:
        better = 1 << max(0, (num_tokens // FEWEST_STEPS).bit_length() - 1)
        found.append(
            f"plan.batch_tokens={config.batch_tokens:,} makes {num_steps:,} steps of {show_count(num_tokens)} tokens, "
            f"which is few to learn in; {max(better, config.row_tokens):,} leave {FEWEST_STEPS:,} or more."
        )
    best = recommend(case)
    if best["zero_stage"] == 3 and best["micro_batch_rows"] == 1:
        found.append(
            "Micro batches of one row under ZeRO-3 leave the GPUs waiting for the network: at this size tensor "
            "parallelism, which Headrace has not, is the better way."
        )
    return found


def _rows(count: int) -> str:
    return f"{count} row{'' if count == 1 else 's'}"
