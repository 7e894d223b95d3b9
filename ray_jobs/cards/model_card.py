"""What does the card of a model say?

What it is, by which decision it is in service, what it was trained on, what that took, how to load it, and what it
cannot do. Every figure stands in the store; what nobody measured or stated is left out, and the card says so.
"""

from collections.abc import Mapping, Sequence

from pydantic import JsonValue

from cluster.readable import many, seconds, short, signed, whole
from data_ops.audit.by_period import PeriodCounts, counts_of_sources, total
from models.config import Objective
from ray_jobs.cards.blocks import Block, Card, CardPart, Code, Grid, Picture, Points, Words
from ray_jobs.cards.comparing import mixture_words
from ray_jobs.cards.listing import bits, moment, span_words
from ray_jobs.cards.told import Told
from ray_jobs.evaluation.decision import DecisionRow, SliceRow
from ray_jobs.registry.champions import How
from ray_jobs.report.charts.comparisons import forest, stacked_bars

SHOWN, INDEXED = 40, 60
NOT_STATED = "not stated"
#: The class of transformers that loads it, and its task on the hub, by what it learns.
LOADED = {
    Objective.CAUSAL: ("AutoModelForCausalLM", "text-generation"),
    Objective.MASKED: ("AutoModelForMaskedLM", "fill-mask"),
}
LIMITS = (
    "It may state what is false, and repeat what stood in its sources, personal data and bias included.",
    "The gate compares bits per byte of held-out text; nothing was measured of truth, harm or bias here.",
    "Periods of text that it was not trained on are unknown to it; the newest is named above.",
    "Documents that were forgotten after it was trained stay in its weights: `headrace forget --report` names them.",
)


def model_card(told: Told) -> Card:
    """Build the card of a checkpoint."""
    facts, whole_text = told.facts, total(told.counts)
    service = facts.service
    name = facts.name
    parts = [_what(told), _decision(told), _trained_on(told), _effort(told), _loading(told)]
    return Card(
        kicker=f"model card of checkpoint {name}",
        title=name,
        sentence=_sentence(told, whole_text),
        facts=[
            (short(whole_text.trained), f"documents, {short(whole_text.trained_tokens)} tokens of fresh text"),
            (short(whole_text.replayed), f"replayed documents, {short(whole_text.replayed_tokens)} tokens"),
            *_gain(service.decision if service else None, told.measure),
            *([(short(told.parameters), "parameters")] if told.parameters else []),
            (short(facts.tokens), "positions trained"),
            (whole(facts.rounds), "rounds"),
        ],
        parts=[*parts, CardPart("Limits", [Points(LIMITS)])],
        front=_front(told),
        footer="Every figure stands in the store: headrace registry show, verify and trace find them again.",
    )


def _sentence(told: Told, counts: PeriodCounts) -> str:
    service, newest = told.facts.service, counts.trained_last
    trained = f"trained from {told.base or 'random weights'}"
    trained += f" on text up to {newest.day} {newest:%B %Y}" if newest else ""
    if service is None:
        return f"A checkpoint that was never in service, {trained}."
    if service.how is How.BASE:
        return f"Champion {service.number} of its store: {told.base or 'the weights'} as a run began with it."
    return (
        f"Champion {service.number} of its store, {'in service' if service.until_s is None else 'retired'}: {trained}."
    )


def _gain(decision: DecisionRow | None, measure: str) -> list[tuple[str, str]]:
    fresh = (decision or {}).get("fresh")
    if not decision or not fresh:
        return []
    against = decision.get("against", "the champion before")
    bounds = f"at least {signed(fresh['low'])}, at most {signed(fresh['high'])}"
    return [(signed(fresh["difference"]), f"{measure} on fresh text against {against}; {bounds}")]


def _what(told: Told) -> CardPart:
    facts, card = told.facts, told.stated.card
    model = facts.state.model if facts.state else {}
    shape = ", ".join(f"{key} {model[key]}" for key in ("layers", "width", "heads", "row_tokens") if model.get(key))
    origin = facts.origin
    licence = origin.license if origin and origin.license else NOT_STATED
    base = f"{told.base}, licence {licence}" if told.base else "none: random weights"
    rows = [
        ("Checkpoint", facts.name + ("" if facts.is_kept else " (its files are gone)")),
        ("Committed", f"{facts.committed:%Y-%m-%d %H:%M} UTC" if facts.committed else "not recorded"),
        ("Licence of the model", card.license or NOT_STATED),
        ("Base", base),
        ("Architecture", f"{model.get('kind', 'decoder')}: {shape}" if shape else str(model.get("kind", "decoder"))),
        ("Parameters", whole(told.parameters) if told.parameters else "not known"),
        ("Tokenizer", (facts.state.tokenizer if facts.state else None) or "not recorded"),
        ("Weights (sha256)", facts.weights_sha256 or "not recorded"),
        ("Sample of the reservoir", facts.sample or "none: nothing was replayed"),
    ]
    return CardPart("What it is", [Grid(("", ""), rows)])


def _decision(told: Told) -> CardPart:
    service = told.facts.service
    if service is None:
        return CardPart("The decision", [Words("It was never in service, so there is none.")])
    until = "in service" if service.until_s is None else f"in service until {moment(service.until_s)}"
    came = f"Came into service {moment(service.entry.decided)} UTC: {service.how}, {until}"
    lead = f"{came}; before it: {told.before or 'none'}."
    decision = service.decision
    if decision is None:
        return CardPart("The decision", [Words(service.reason + ".")], lead)
    reasons = [*([service.reason] if service.how is How.ROLLBACK else []), *decision.get("reasons", [])]
    slices = [row for row in decision.get("slices", []) if row.get("difference") is not None]
    blocks: list[Block] = [Points(reasons)]
    if slices:
        margin = max((row.get("limit", 0.0) for row in slices), default=0.0)
        title = f"Difference to {decision.get('against', 'the champion before')}"
        chart = forest(slices[:SHOWN], margin, label="difference per slice")
        blocks += [Picture(chart, title, f"{told.measure} on the same documents, with bounds"), _slices(slices)]
    tasks = {task: rows[0] for task, rows in (decision.get("tasks") or {}).items() if rows}
    if tasks:
        blocks += [Words("Tasks, compared question by question:"), _tasks(tasks)]
    return CardPart("The decision", blocks, lead)


def _tasks(tasks: Mapping[str, SliceRow]) -> Grid:
    head = ("task", "unit", "questions", "before", "after", "change", "at least", "at most")
    rows = [
        (
            task,
            row.get("unit", ""),
            *_compared(row),
        )
        for task, row in tasks.items()
    ]
    return Grid(head, rows, 6)


def _compared(row: SliceRow) -> tuple[str, ...]:
    """Cells of how many items were compared, both figures, their difference and its bounds."""
    differences = (signed(row[name], 4) for name in ("difference", "low", "high"))
    return whole(row["documents"]), bits(row["before"]), bits(row["after"]), *differences


def _slices(slices: Sequence[SliceRow]) -> Grid:
    head = ("slice", "verdict", "documents", "before", "after", "change", "at least", "at most")
    rows = [
        (
            f"{row['name']} ({row['role']})",
            row["verdict"],
            *_compared(row),
        )
        for row in slices
    ]
    return Grid(head, rows, 6)


def _trained_on(told: Told) -> CardPart:
    facts, forgetting = told.facts, told.facts.forgetting
    sources = [one for one in counts_of_sources(told.counts) if one.trained or one.replayed]
    windows = f"windows 0 to {facts.last_window}" if facts.last_window >= 0 else "no window"
    lead = f"{windows.capitalize()} of the store, {many(facts.rounds, 'round')}. The data card has every period."
    rows = [
        (
            one.source,
            told.stated.sources.get(one.source) or NOT_STATED,
            span_words(one.trained_first, one.trained_last),
            whole(one.trained),
            whole(one.trained_tokens),
            whole(one.replayed),
            whole(one.replayed_tokens),
        )
        for one in sources
    ]
    head = ("source", "licence of its texts", "text from", "documents", "tokens", "replayed", "its tokens")
    stacks = {"replay": [one.replayed_tokens for one in sources], "fresh": [one.trained_tokens for one in sources]}
    chart = stacked_bars([one.source for one in sources], stacks, label="tokens by source")
    gone = sum(one.forgotten_trained for one in told.counts)
    then = forgetting.ids - forgetting.ids_since
    forgotten = (
        f"Forgotten: epoch {forgetting.epochs - forgetting.epochs_since}, {many(then, 'document')} before it came into "
        f"service, {whole(forgetting.ids_since)} since; {whole(gone)} forgotten ones are in its weights."
    )
    mixture = f"Mixture: {mixture_words(facts.mixture) or 'none, documents came in the order of the log'}."
    shown: list[Block] = [Words("It was trained on no text of this store.")]
    if sources:
        shown = [Picture(chart, "Tokens", "fresh (blue) and replayed (orange)", is_narrow=True), Grid(head, rows, 4)]
    return CardPart("What it was trained on", [*shown, Points((mixture, forgotten))], lead)


def _effort(told: Told) -> CardPart:
    time, card, state = told.time, told.stated.card, told.facts.state
    hours = f"{seconds(time.seconds)}, {time.worker_s / 3600:.3g} worker-hours"
    items = [
        f"{many(time.steps, 'step')} in {hours}, by the run's own log." if time.steps else "No step is in its log."
    ]
    if state is not None and state.batch_tokens:
        items.append(f"{whole(state.batch_tokens)} positions a step, precision {state.precision}.")
    items.append(energy_words(time.worker_s, card.watts, card.co2_g_per_kwh))
    return CardPart("What it took", [Points(items)], "Training steps alone: no start of workers, evaluation or ingest.")


def energy_words(worker_s: float, watts: float | None, co2_g_per_kwh: float | None) -> str:
    """Energy and CO2 where somebody stated power and grid, else that nobody did.

    >>> energy_words(7200, 500, 300)
    'Energy: 1 kWh, at the 500 W a worker that were stated; CO2: 300 g, at the 300 g/kWh that were stated.'
    """
    if watts is None:
        return "Energy and CO2 are not told: no power was measured, and none is stated (card.watts)."
    kwh = worker_s * watts / 3.6e6
    energy = f"Energy: {_amount(kwh, 'Wh', 'kWh')}, at the {watts:g} W a worker that were stated"
    if co2_g_per_kwh is None:
        return f"{energy}; CO2 is not told: card.co2_g_per_kwh is not stated."
    co2 = _amount(kwh * co2_g_per_kwh / 1000, "g", "kg")
    return f"{energy}; CO2: {co2}, at the {co2_g_per_kwh:g} g/kWh that were stated."


def _amount(value: float, small: str, large: str) -> str:
    return f"{value:.3g} {large}" if value >= 1 else f"{1000 * value:.3g} {small}"


def _loading(told: Told) -> CardPart:
    name, (loader, _) = told.facts.name, LOADED[told.learns]
    lines = (
        f"# headrace export store=STORE --checkpoint {name} --to ./model",
        f"from transformers import {loader}, AutoTokenizer",
        "",
        'tokenizer = AutoTokenizer.from_pretrained("./model")',
        f'model = {loader}.from_pretrained("./model")',
    )
    said = "" if told.facts.is_kept else "Its files are gone from the store: load a copy that was exported before."
    return CardPart("How to load it", [*([Words(said)] if said else []), Code("python", lines)])


def _front(told: Told) -> dict[str, JsonValue]:
    """What the hub reads."""
    facts, card = told.facts, told.stated.card
    decision = (facts.service.decision if facts.service else None) or {}
    _, task = LOADED[told.learns]
    results: list[JsonValue] = [
        {
            "task": {"type": task},
            "dataset": {"name": f"held-out text {row['name']} ({row['role']})", "type": row["name"]},
            "metrics": [{"type": told.measure.replace(" ", "_"), "name": told.measure, "value": round(after, 6)}],
        }
        for row in decision.get("slices", [])[:INDEXED]
        if (after := row.get("after")) is not None and row["role"] != "pool"
    ]
    results += [
        {
            "task": {"type": "text-generation"},
            "dataset": {"name": task, "type": task},
            "metrics": [{"type": rows[0].get("unit", "score"), "name": task, "value": round(after, 6)}],
        }
        for task, rows in (decision.get("tasks") or {}).items()
        if rows and (after := rows[0].get("after")) is not None
    ]
    index: list[JsonValue] = [{"name": facts.name, "results": results}]
    return {
        **({"license": card.license} if card.license else {}),
        **({"base_model": told.base_of_hub} if told.base_of_hub else {}),
        "library_name": "transformers",
        "pipeline_tag": task,
        "tags": ["headrace", "continual-learning"],
        **({"model-index": index} if results else {}),
    }
