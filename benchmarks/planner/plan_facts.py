"""Does `headrace plan` agree with what was published? `python -m benchmarks.planner.plan_facts` writes
results/<date>-plan.md.

Every published run of tests/data/published_runs.csv is planned as a user would ask (parameters, tokens, GPUs), and
with its own shape, without failures, which published hours contain already. How the interval of hours was fitted and
judged is in plan_interval.py. Other figures (ZeRO's table, DeepSpeed's estimates, costs, goodput) are compared one by
one.
"""

import sys
from datetime import UTC, datetime

from benchmarks.planner.plan_interval import (
    COVERAGE,
    asked,
    coverages,
    fitted,
    implied_mfu,
    median_error,
    planned,
    runs,
    sibling_factor,
    sibling_pairs,
)
from benchmarks.root import RESULTS
from benchmarks.rows import Goal, Row
from cluster.planner.duration import PUBLISHED_MFU, SIBLING, Range, failures, train_hours
from cluster.planner.formulas import goodput, train_flops, zero3_estimate
from cluster.planner.memory import Case
from cluster.planner.plan import PlanConfig, plan

ZERO_TABLE = {  # ranks -> GB of stages 0 to 3; ZeRO paper, figure 1 and table 1
    1: (120, 120, 120, 120),
    4: (120, 52.5, 41.25, 30.0),
    16: (120, 35.6, 21.6, 7.5),
    64: (120, 31.4, 16.6, 1.88),
    256: (120, 30.4, 15.4, 0.47),
    1024: (120, 30.1, 15.1, 0.12),
}
T5_SMALL = {"all": (1.52, 0.06), "optimizer": (1.35, 0.17), "none": (0.09, 1.08)}  # (CPU, GPU) GiB; DeepSpeed's docs
MEASURED = {"LLaMA-65B": 380, "TinyLlama-1.1B": 24_100}  # tokens a second and GPU, as their authors say


def single_facts() -> list[tuple[str, float, float, float, bool]]:
    """Return (fact, ours, published, most allowed difference, is that relative?) of all that is no run."""
    facts: list[tuple[str, float, float, float, bool]] = []
    for ranks, row in ZERO_TABLE.items():
        for stage, published in enumerate(row):
            what = f"7.5 B parameters, {ranks:,} GPU{'s' if ranks > 1 else ''}, ZeRO-{stage}: GB of states"
            facts.append((what, states_gb("7.5B", ranks, stage), published, 0.05, False))
    facts.append(("1 T parameters, 1,024 GPUs, ZeRO-3: GB of states", states_gb("1T", 1024, 3), 16, 0.4, False))
    for offload, published_gib in T5_SMALL.items():
        estimate = zero3_estimate(60_506_624, 32128 * 512, 1, offload)  # type: ignore[arg-type]
        for where, ours, published in zip(("CPU", "GPU"), estimate, published_gib, strict=True):
            what = f"t5-small, ZeRO-3, offload {offload}: GiB on the {where}"
            facts.append((what, ours / 2**30, published, 0.011, False))
    flops = train_flops(175e9, 300e9)
    facts.append(("GPT-3: FLOPs without attention", flops, 3.14e23, 0.005, True))
    facts.append(("GPT-3: petaflop/s-days", flops / (1e15 * 86400), 3640, 0.005, True))
    for parameters, tokens, gpus, tflops, days in ((175e9, 300e9, 1024, 140, 34), (1008e9, 450e9, 3072, 163, 84)):
        ours = train_flops(parameters, tokens, recompute=True) / (gpus * tflops * 1e12 * 86400)
        facts.append((f"Narayanan 2021, eq. 4: days of {parameters / 1e9:,.0f} B", ours, days, 0.02, True))
    facts.append(("DeepSeek-V3: USD for 2.788 M hours at 2 USD", cost_of(2.788e6, 2.0), 5.576e6, 1e-9, True))
    facts.append(("MPT-7B: USD for 440 GPUs, 9.5 days at 1.99 USD", cost_of(440 * 9.5 * 24, 1.99), 200_000, 0.01, True))
    for gpus, published in ((64, 0.996), (1024, 0.987)):
        ours = goodput(300, 1, 120, 7.9 * 3600 * 1024 / gpus)
        facts.append((f"goodput of {gpus:,} A100 at Meta's failure rate", ours, published, 0.0005, False))
    return facts


def states_gb(parameters: str, gpus: int, stage: int) -> float:
    """Return GB of model states on one GPU, as `plan` gives them."""
    config = PlanConfig.model_validate({"parameters": parameters, "gpu": "A100-80", "gpus": gpus})
    return plan(config)["memory_gb"][str(stage)]["states"]


def cost_of(hours: float, rent: float) -> float:
    """Return the USD that `plan` asks for a run of so many GPU-hours, those that failures cost included."""
    case = Case(PlanConfig(parameters=37_000_000_000, rent_prices={"H100": rent}), "H100", 2048)
    mfu = train_hours(case, 1.0) / (hours * (1 - failures(case).share))
    config = case.config.model_copy(update={"gpu": case.gpu, "gpus": case.gpus, "mfu": mfu})
    return plan(config)["cost"]["expected"]


def with_measured_mfu() -> list[tuple[str, float, float, Range]]:
    """Return (run, its measured MFU, published hours, planned hours) where the authors told how fast a step was."""
    named = {run["model"]: run for run in runs()}
    found = []
    for name, tokens_per_s in MEASURED.items():
        run = named[name]
        mfu = implied_mfu(run) * tokens_per_s * 3600 * float(run["gpu_hours"]) / float(run["tokens"])
        found.append((name, mfu, float(run["gpu_hours"]), planned(run, shaped=True, mfu=mfu, recompute=False)))
    return found


def agrees(ours: float, published: float, most: float, relative: bool) -> bool:
    """Is a figure as near as it must be? The paper's rounding is allowed for by a thousandth of that."""
    return abs(ours - published) <= most * (published if relative else 1) * 1.001


def measure(quick: bool) -> list[Row]:
    """Coverage of the interval, error of the hours, how many other facts agree; quick makes no difference."""
    rows = []
    for name, (within, number) in coverages().items():
        why = "The interval is too narrow for these runs."
        rows.append(
            _row(f"plan: runs inside its interval, {name}", "", within / number, Goal(0.8, of_ratio=False), why)
        )
    median = median_error(runs("fit"))
    most = Goal(0.2, at_least=False, of_ratio=False)
    rows.append(_row("plan: median error of expected hours, 18 A100 runs", "", median, most, "The MFU moved."))
    facts = single_facts()
    agreeing = sum(agrees(*fact[1:]) for fact in facts) / len(facts)
    all_of_them = Goal(1.0, of_ratio=False)
    rows.append(
        _row(f"plan: of {len(facts)} other published figures agree", "", agreeing, all_of_them, "See -plan.md.")
    )
    return rows


def _row(what: str, unit: str, value: float, goal: Goal, why: str) -> Row:
    return Row(what, unit, [value], goal=goal, why=why)


def page() -> str:
    """Return the table of every published fact beside the plan."""
    about = (__doc__ or "").split("\n\n", 1)[1].strip()
    lines = [f"# The plan against what was published, {datetime.now(UTC):%Y-%m-%d}", "", about, ""]
    return "\n".join([*lines, *_interval_lines(), *_run_lines(), *_measured_lines(), *_fact_lines()]) + "\n"


def _interval_lines() -> list[str]:
    lines = ["## Is the interval wide enough?", "", "| judged on | inside | share |", "|---|---|---|"]
    for name, (within, number) in coverages().items():
        lines.append(f"| {name} | {within} of {number} | {within / number:.0%} |")
    fit, mine, others = fitted(runs("fit")), sibling_pairs(runs("fit")), sibling_pairs(runs("held out"))
    return [
        *lines,
        "",
        f"Fitted MFU {fit.low:.3f} to {fit.high:.3f}, mean {fit.expected:.3f} ({COVERAGE:.0%}, log-normal); used "
        f"{PUBLISHED_MFU.low:.2f} to {PUBLISHED_MFU.high:.2f}, expected {PUBLISHED_MFU.expected:.2f}. Median error of "
        f"the expected hours: {median_error(runs('fit')):.1%} on the 18 A100 runs, "
        f"{median_error(runs('held out')):.1%} on the 6 never used.",
        "",
        f"With the MFU of another run of the team: a factor of {sibling_factor(runs('fit')):.3f} was fitted to the "
        f"A100 runs, {SIBLING} is used; {mine[0]} of {mine[1]} pairs lie inside, and {others[0]} of {others[1]} pairs "
        "of runs never used: every pair with Llama 3.1 8B lies outside.",
        "",
    ]


def _run_lines() -> list[str]:
    lines = [
        "## Runs",
        "",
        "Hours in thousands. `error`: the expected hours over the published, as a user asks; `own shape`: with the",
        "run's layers, width and row length, without failures and recomputation. (r): it fits only with recomputation.",
        "",
        "| run | use | published | plan | low to high | inside? | error | own shape | MFU | source |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for run in runs():
        hours, found = float(run["gpu_hours"]), plan(asked(run, shaped=False))
        plans = Range(**found["gpu_hours"])
        cells = [
            run["model"] + (" (r)" if found["recompute"] else ""),
            run["use"],
            f"{hours / 1e3:,.1f}",
            f"{plans.expected / 1e3:,.1f}",
            f"{plans.low / 1e3:,.1f} to {plans.high / 1e3:,.1f}",
            "yes" if plans.low <= hours <= plans.high else "**no**",
            f"{plans.expected / hours - 1:+.0%}",
            f"{implied_mfu(run) / PUBLISHED_MFU.expected - 1:+.0%}",
            f"{implied_mfu(run):.3f}",
            run["source"],
        ]
        lines.append("| " + " | ".join(cells) + " |")
    return [*lines, ""]


def _measured_lines() -> list[str]:
    lines = ["## With a measured MFU (`plan.mfu`)", "", "| run | MFU | published | plan | low to high |"]
    lines.append("|---|---|---|---|---|")
    for name, mfu, hours, plans in with_measured_mfu():
        cells = (name, f"{mfu:.3f}", f"{hours / 1e3:,.1f}", f"{plans.expected / 1e3:,.1f}")
        lines.append(f"| {' | '.join(cells)} | {plans.low / 1e3:,.1f} to {plans.high / 1e3:,.1f} |")
    return [*lines, ""]


def _fact_lines() -> list[str]:
    lines = ["## Everything else", "", "| fact | plan | published | allowed | agrees? |", "|---|---|---|---|---|"]
    for what, ours, published, most, relative in single_facts():
        allowed = f"{most:.2g}" if not relative else f"{most:.1%}" if most > 1e-6 else "0"
        verdict = "yes" if agrees(ours, published, most, relative) else "**no**"
        lines.append(f"| {what} | {ours:,.5g} | {published:,.5g} | ± {allowed} | {verdict} |")
    return lines


if __name__ == "__main__":
    text = page()
    (RESULTS / f"{datetime.now(UTC):%Y-%m-%d}-plan.md").write_text(text, encoding="utf-8")
    sys.stdout.write(text)
