"""What does the card of the data say: what was read, what became of it, what of it is in the weights?"""

from collections import Counter
from collections.abc import Iterable, Sequence

from pydantic import JsonValue

from cluster.readable import many, short, whole
from data_ops.audit.by_period import PeriodCounts, counts_of_sources, total
from data_ops.curation.reasons import meaning_of
from ray_jobs.cards.blocks import Card, CardPart, Grid, Picture, Points
from ray_jobs.cards.listing import span_words
from ray_jobs.cards.told import Told
from ray_jobs.report.charts.comparisons import waterfall
from ray_jobs.report.charts.svg import Html

COLUMNS: tuple[str, ...] = ("read", "dropped", "quarantined", "held out", "forgotten", "waiting")
COLUMNS += ("trained", "tokens", "replayed", "its tokens")
PERIODS_SHOWN, REASONS_DRAWN = 600, 10
SIZES: tuple[tuple[float, str], ...] = (
    (1e3, "n<1K"),
    (1e4, "1K<n<10K"),
    (1e5, "10K<n<100K"),
    (1e6, "100K<n<1M"),
    (1e7, "1M<n<10M"),
)
SIZES += ((1e8, "10M<n<100M"), (1e9, "100M<n<1B"))
WORDS = (
    "A document is trained once its last row is in the weights; held-out ones are never trained and judge the model.",
    "Replayed counts each time an old document was trained again. Tokens are of texts, without the token between them.",
    "Of forgotten documents the text is gone, and their tokens are not counted; those in the weights stay there.",
    "Times are those that the records state, else those of their files or arrivals, in UTC.",
)


def data_card(told: Told) -> Card:
    """Build the card of what a checkpoint was trained on, as of all windows that the store has now."""
    counts = total(told.counts)
    name = told.facts.name
    span = f", {counts.first:%B %Y} to {counts.last:%B %Y}" if counts.first and counts.last else ""
    return Card(
        kicker=f"data card of checkpoint {name}",
        title=f"Data of {name}",
        sentence=f"{many(counts.read, 'record')} of {many(len(counts_of_sources(told.counts)), 'source')}{span}; "
        f"{many(counts.trained, 'document')} are in the weights.",
        facts=[
            (short(counts.read), f"records read in {many(told.windows, 'window')}"),
            (short(counts.trained), f"documents trained, {short(counts.trained_tokens)} tokens"),
            (short(counts.replayed), f"replayed, {short(counts.replayed_tokens)} tokens"),
            (whole(counts.held_out), "held out"),
            (whole(sum(counts.dropped.values())), "dropped"),
            (whole(sum(counts.quarantined.values())), "quarantined"),
            (whole(counts.forgotten), f"forgotten, {whole(counts.forgotten_trained)} of them in the weights"),
            *([(whole(counts.pending), "not trained yet")] if counts.pending else []),
            *([(whole(counts.shed), "passed over")] if counts.shed else []),
            *([(whole(counts.skipped), "in steps that were skipped")] if counts.skipped else []),
        ],
        parts=[
            CardPart("From read to trained", [Picture(_waterfall(counts), "Records", "each loss with its reason")]),
            CardPart("By source", _sources(told)),
            CardPart("By period", [_periods(told.counts)], "Months of event time, newest first."),
            CardPart("Why records were not trained on", [_reasons(told.counts)]),
            CardPart("How to read it", [Points(WORDS)]),
        ],
        front=_front(told, counts),
        footer="The sums are those of headrace verify; a single document is told by headrace trace.",
    )


def _waterfall(counts: PeriodCounts) -> Html:
    steps: list[tuple[str, float, str]] = [("read", counts.read, "total")]
    reasons = Counter(counts.dropped).most_common()
    steps += [(reason.replace("_", " "), number, "loss") for reason, number in reasons[:REASONS_DRAWN]]
    rest = sum(number for _, number in reasons[REASONS_DRAWN:])
    others = (
        ("other reasons", rest, "loss"),
        ("quarantined", sum(counts.quarantined.values()), "loss-bad"),
        ("held out to judge", counts.held_out, "loss-kept"),
        ("forgotten", counts.forgotten, "loss"),
        ("passed over", counts.shed, "loss"),
        ("in skipped steps", counts.skipped, "loss"),
        ("not trained yet", counts.pending, "loss"),
    )
    steps += [(name, number, kind) for name, number, kind in others if number]
    return waterfall([*steps, ("trained", counts.trained, "rest")], label="records from read to trained")


def _sources(told: Told) -> list[Grid]:
    """Where texts are from, under which licence and of which time; and what became of their records."""
    sources, stated = counts_of_sources(told.counts), told.stated.sources
    places = [
        (
            one.source,
            stated.get(one.source) or "not stated",
            span_words(one.first, one.last),
            span_words(one.trained_first, one.trained_last),
        )
        for one in sources
    ]
    rows = [(one.source, *_cells(one)) for one in sources]
    if len(sources) > 1:
        rows.append(("all", *_cells(total(told.counts))))
    head = ("source", "licence of its texts", "texts read, from", "texts trained, from")
    return [Grid(head, places), Grid(("source", *COLUMNS), rows, len(COLUMNS))]


def _cells(one: PeriodCounts) -> tuple[str, ...]:
    """Figures of some records; waiting: shed, skipped and not trained yet."""
    numbers: tuple[int, ...] = (one.read, sum(one.dropped.values()), sum(one.quarantined.values()))
    numbers += (one.held_out, one.forgotten)
    numbers += (one.pending + one.shed + one.skipped, one.trained, one.trained_tokens)
    numbers += (one.replayed, one.replayed_tokens)
    return tuple(whole(number) for number in numbers)


def _periods(counts: Sequence[PeriodCounts]) -> Grid:
    ordered = sorted(counts, key=lambda one: (one.period or "", one.source), reverse=True)
    rows = [(one.period or "not known", one.source, *_cells(one)) for one in ordered[:PERIODS_SHOWN]]
    if older := ordered[PERIODS_SHOWN:]:
        rows.append(("before these", "all", *_cells(total(older))))
    return Grid(("period", "source", *COLUMNS), rows, len(COLUMNS))


def _reasons(counts: Iterable[PeriodCounts]) -> Grid:
    found = [
        (one.source, fate, reason, number)
        for one in counts_of_sources(counts)
        for fate, reasons in (("dropped", one.dropped), ("quarantined", one.quarantined))
        for reason, number in sorted(reasons.items(), key=lambda item: -item[1])
    ]
    rows = [(source, fate, reason, meaning_of(reason), whole(number)) for source, fate, reason, number in found]
    return Grid(("source", "fate", "reason", "meaning", "records"), rows, 1)


def _front(told: Told, counts: PeriodCounts) -> dict[str, JsonValue]:
    """What the hub reads of a data set: one licence only where all sources have that one."""
    licences = {told.stated.sources.get(one.source) for one in counts_of_sources(told.counts)}
    only = licences.pop() if len(licences) == 1 else "other"
    documents = counts.trained + counts.replayed
    size = next((name for most, name in SIZES if documents < most), "n>1B")
    return {
        **({"license": only} if only else {}),
        "pretty_name": f"What {told.facts.name} was trained on",
        "size_categories": [size],
        "task_categories": ["text-generation"],
        "tags": ["headrace"],
    }
