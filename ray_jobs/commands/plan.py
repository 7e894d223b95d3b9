"""What is `headrace plan` asked, and how is the answer shown?

What the `plan` block leaves open is taken from the run's own `model`, `tokenizer` and `engine` blocks where a file sets
them, so that `headrace plan -c mine.yaml` plans that run. The answer begins with time and money, then says what fits,
which GPUs there are, and how sure all of it is.
"""

from collections.abc import Iterator

from rich import box
from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from cluster.planner.answer import PlanAnswer
from cluster.planner.config import PlanConfig
from cluster.readable import many, seconds, short
from models.kinds.kinds import kind_of, part_that_trains
from ray_jobs.config.schema import Config

STRONG, SOFT, GOOD, BAD = "bold", "dim", "green", "red"
WIDTH = 110  # where there is no terminal


def plan_asked(config: Config) -> PlanConfig:
    """Return the question: the `plan` block, completed by the run's own shape where that was set."""
    given = config.plan or PlanConfig()
    found: dict[str, object] = {}
    model, engine = config.model, config.engine
    if "model" in config.model_fields_set and "parameters" not in given.model_fields_set:
        vocabulary = config.tokenizer.vocabulary if config.tokenizer.kind == "bpe" else given.vocabulary
        vocabulary = model.tokens_of(vocabulary)
        found |= {"parameters": kind_of(model).num_parameters(model, vocabulary), "vocabulary": vocabulary}
        found |= {"trained": part_that_trains(model, vocabulary).trained} if model.trains_part else {}
        found |= {"layers": model.layers, "width": model.width, "row_tokens": model.row_tokens}
        found |= {"predicted_tokens": 1 + model.further} if model.further else {}
        found |= {"recompute": model.recompute} if "recompute" in model.model_fields_set else {}
    if "kind" in config.optim.model_fields_set:
        found["optimizer"] = config.optim.kind.value
    if "workers" in engine.model_fields_set:
        found["gpus"] = engine.most
    if "batch_tokens" in engine.model_fields_set:
        found["batch_tokens"] = engine.batch_tokens
    left_open = {name: value for name, value in found.items() if name not in given.model_fields_set}
    return PlanConfig.model_validate(given.model_dump(exclude_unset=True) | left_open)


def show_plan(found: PlanAnswer, console: Console | None = None) -> None:
    """Print a plan for people."""
    console = console or Console(highlight=False)
    if not console.is_terminal:
        console.width = max(console.width, WIDTH)
    console.print(Group(*_page(found)))


def _page(found: PlanAnswer) -> Iterator[RenderableType]:
    best = found["recommended"]
    fits = best["zero_stage"] is not None and best["gpus"] == found["gpus"]
    head = f"{short(found['parameters'])} parameters"
    head += "" if found["trained"] == found["parameters"] else f", of which {short(found['trained'])} train,"
    head += f" on {short(found['tokens'])} tokens, "
    yield Text(f"{head}{found['gpus']:,} × {found['gpu']}", STRONG)
    if not fits:
        yield Text(f"Does not fit: {best['reason']}.", BAD)
    yield _totals(found)
    yield Text("\nMemory of one GPU, in GB", STRONG)
    yield _memory(found)
    if found["choices"]:
        yield Text("\nWhich GPUs", STRONG)
        yield _choices(found)
    yield Text()
    lines = list(_sentences(found))
    if fits:
        words = [f"engine.workers={best['gpus']}", f"engine.zero_stage={best['zero_stage']}"]
        words += [f"engine.micro_batch_rows={best['micro_batch_rows']}", f"engine.batch_tokens={best['batch_tokens']}"]
        words.append(f"model.row_tokens={found['row_tokens']}")
        words += ["model.recompute=true"] if found["recompute"] else []
        lines.append(("settings", " ".join(words)))
    yield _pairs(lines)


def _pairs(lines: list[tuple[str, str]]) -> Table:
    table = Table.grid(padding=(0, 2))
    table.add_column(style=SOFT, no_wrap=True)
    table.add_column(overflow="fold")
    for name, text in lines:
        table.add_row(name, Text(text))
    return table


def _totals(found: PlanAnswer) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("")
    for name, style in (("expected", STRONG), ("from", ""), ("to", "")):
        table.add_column(name, justify="right", style=style)
    rows = (("days", found["days"]), ("GPU-hours", found["gpu_hours"]), ("USD, rented", found["cost"]))
    for name, values in rows:
        table.add_row(name, *(_figure(values[which]) for which in ("expected", "low", "high")))
    return table


def _memory(found: PlanAnswer) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("")
    for name in ("states", "activations", "buffers", "total", "micro batch"):
        table.add_column(name, justify="right")
    table.add_column("")
    best = found["recommended"]
    for stage, cell in found["memory_gb"].items():
        chosen = best["gpus"] == found["gpus"] and str(best["zero_stage"]) == stage
        verdict = Text("too large", BAD) if not cell["fits"] else Text("take this" if chosen else "fits", GOOD)
        sizes = [f"{gb:,.1f}" for gb in (cell["states"], cell["activations"], cell["buffers"], cell["total"])]
        style = STRONG if chosen else "" if cell["fits"] else SOFT
        table.add_row(f"ZeRO-{stage}", *sizes, many(cell["micro_batch_rows"], "row"), verdict, style=style)
    table.caption = (
        f"{found['gpu_memory_gb']:g} GB are there, and the total has a margin; rows of {found['row_tokens']:,} tokens"
    )
    table.caption += ", activations recomputed" if found["recompute"] else ""
    table.caption_justify = "left"
    return table


def _choices(found: PlanAnswer) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for name in ("GPU", "number", "days", "USD", "from-to", "USD/h", "published"):
        style = SOFT if name in ("from-to", "published") else ""
        table.add_column(name, justify="left" if name == "GPU" else "right", style=style, no_wrap=True)
    cheapest = min(choice["cost"]["expected"] for choice in found["choices"])
    for choice in found["choices"]:
        days, cost = _figure(choice["days"]["expected"]), choice["cost"]
        recompute = " (r)" if choice["recompute"] else ""
        rent, runs = f"{choice['price_per_hour']:.2f}", str(choice["published_runs"] or "none")
        style = GOOD if choice["cost"]["expected"] == cheapest else ""
        table.add_row(choice["gpu"] + recompute, f"{choice['gpus']:,}", days, *_usd_span(cost), rent, runs, style=style)
    table.caption = "green: the cheapest; published: how many published runs the hours rest on"
    table.caption += "; (r): recomputes" * any(choice["recompute"] for choice in found["choices"])
    table.caption_justify = "left"
    return table


def _usd_span(cost: dict[str, float]) -> tuple[str, str]:
    """The expected USD, and low to high, in few letters."""
    low, middle, high = (short(v) if v >= 10_000 else _figure(v) for v in cost.values())
    return middle, low if low == high else f"{low}-{high}"


def _sentences(found: PlanAnswer) -> Iterator[tuple[str, str]]:
    every = found["days"]["expected"] / found["failures_expected"]
    text = f"{_figure(found['failures_expected'])} expected, one every {seconds(every * 86_400)}; "
    text += f"with a checkpoint every {seconds(found['checkpoint_interval_s'])} (the best interval) "
    text += f"{found['goodput']:.1%} of the time is spent training"
    yield "failures", text
    deal = found["rent_or_buy"]
    needed = f"this run needs {_figure(deal['hours_needed']['expected'])} h of each GPU"
    if deal["break_even_hours"] is None:
        yield "rent", f"renting costs less than running a bought {found['gpu']}; {needed}"
    else:
        even = f"a bought {found['gpu']} ({deal['purchase_price']:,.0f} USD, {deal['running_cost_per_hour']:g} USD an "
        even += f"hour to run) is cheaper from {_figure(deal['break_even_hours'])} h of use on"
        even += f" ({_figure(deal['break_even_hours'] / 730)} months)"
        yield {"either": "rent or buy"}.get(deal["advice"], deal["advice"]), f"{even}; {needed}"
    yield (
        "price",
        f"{found['price_per_hour']:.2f} USD a GPU-hour ({found['price_source']}); without storage, network and people",
    )
    yield "how sure", found["stated_error"]
    for note in found["notes"]:
        yield "note", note


def _figure(value: float) -> str:
    """A figure as exact as a plan can be.

    >>> _figure(4.256), _figure(23.28), _figure(14_483.99), _figure(0.003)
    ('4.3', '23', '14,484', '< 0.1')
    """
    if value < 0.095:
        return "< 0.1"
    return f"{value:.1f}" if value < 9.95 else f"{value:,.0f}"
