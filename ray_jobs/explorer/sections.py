"""What do the parts of the explorer say that need no script: sources, months, lengths, and how to read it?"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from cluster.readable import many, share, size, whole
from ray_jobs.explorer.drawings import WORDS, columns, legend, outcome_bar
from ray_jobs.explorer.figures import Explored, LengthFigures, SourceFigures
from ray_jobs.explorer.times import Bars, bar_name, time_bars
from ray_jobs.report.charts.section import figure, section
from ray_jobs.report.charts.svg import Html, tag

Cells = Mapping[tuple[str, str | None, str | None], int]  # number of the samples of a source, outcome and reason


def source_table(figures: Explored, cells: Cells) -> Html:
    """Tell what became of the records of each source; a figure opens samples where there are some."""
    outcomes = list(figures.outcomes)
    most = max((one.records for one in figures.sources), default=1)
    head = [
        ("source", False),
        ("records", True),
        ("", False),
        ("text", True),
        *((WORDS[name], True) for name in outcomes),
    ]
    rows = [_source_row(one, most, outcomes, cells) for one in figures.sources]
    return section(
        "What became of it",
        "Every record that was read has one outcome. A figure that is underlined shows some of its records.",
        tag("figure", _table(head, rows)),
    )


def _source_row(one: SourceFigures, most: int, outcomes: Sequence[str], cells: Cells) -> Html:
    counts = []
    for name in outcomes:
        number = one.outcomes.get(name, 0)
        cell = cells.get((one.source, name, None))
        counts.append(_number(number, opening(whole(number), cell) if number else "–"))
    bar = tag("td", outcome_bar(one.outcomes, most), class_="bars")
    return tag(
        "tr",
        tag("td", one.source, class_="word"),
        _number(one.records),
        bar,
        _number(one.num_bytes, size(one.num_bytes)),
        *counts,
    )


def times_and_lengths(figures: Explored) -> Html:
    """Draw records by month of event time, or by year where there are too many months, and by bytes of text."""
    bars = time_bars(figures.months)
    unit = "month" if bars and len(bars[0][0]) > 4 else "year"
    when = columns(bars, 720, lambda n: bar_name(bars, n), label=f"records by {unit} of event time")
    sizes, octaves = _size_bars(figures.lengths)
    long = columns(
        sizes, 380, lambda n: size(2.0 ** octaves[n]) if octaves[n] % 3 == 0 else "", label="records by bytes"
    )
    unknown = sum(sum(one.outcomes.values()) for one in figures.months if one.month is None)
    return section(
        "From when, and how long",
        None,
        legend(figures.outcomes),
        tag(
            "div",
            figure(when, "Records", f"by {unit} of event time, UTC") if bars else None,
            figure(long, "Records", "by bytes of text") if sizes else None,
            class_="row split",
        ),
        tag("p", f"Of {many(unknown, 'record')} no time is known.", class_="none") if unknown else None,
    )


def _size_bars(lengths: Sequence[LengthFigures]) -> tuple[Bars, range]:
    """A bar for each octave of bytes, all sources together, and the octaves."""
    found: dict[int, Counter[str]] = {}
    for one in lengths:
        found.setdefault(one.octave, Counter()).update(one.outcomes)
    octaves = range(min(found, default=0), max(found, default=-1) + 1)
    return [(f"{size(2.0**o)} to {size(2.0 ** (o + 1))}", dict(found.get(o, {}))) for o in octaves], octaves


def rules_alone(figures: Explored) -> Html | None:
    """Tell what each rule drops that sees the records as they came; None where that was not looked at."""
    if not figures.alone:
        return None
    head = [("source", False), ("rule", False), ("read again", True), ("dropped alone", True), ("share", True)]
    rows = [
        tag(
            "tr",
            tag("td", one.source, class_="word"),
            tag("td", one.reason.replace("_", " "), tag("small", one.meaning)),
            _number(one.records),
            _number(one.dropped),
            _number(one.dropped / one.records, share(one.dropped / one.records)),
        )
        for one in figures.alone
    ]
    lead = (
        "Of a sample of each source, read again: the beginnings of at most 20 spans, chosen by hash. Each rule sees "
        "the records as they came, as it is configured now."
    )
    return section("What each rule drops alone", lead, tag("figure", _table(head, rows)))


def how_to_read(figures: Explored) -> Html:
    """Tell what the words and figures of the page mean."""
    sampled = sum(1 for cell in figures.samples if cell.site is not None)
    items = [
        "Trained: the last row of the document is in the weights. Waiting: kept, and in no weights yet. Held out: it "
        "judges the model and is never trained.",
        "Of forgotten documents only the number is left; neither they nor copies of them are among the samples.",
        "A copy of a text is dropped as a duplicate wherever it came from: a site whose texts came from another site "
        "first has them under dropped.",
        "The texts of dropped records are not kept: a sample has one only where --sources has read it again.",
        f"Samples are chosen by a hash of their place; {many(sampled, 'site')}, the largest, have some.",
    ]
    return section("How to read it", None, tag("ul", *(tag("li", item) for item in items), class_="reasons"))


def _table(head: Sequence[tuple[str, bool]], rows: Iterable[Html]) -> Html:
    names = (tag("th", name, class_="number" if is_number else None) for name, is_number in head)
    return tag("table", tag("thead", tag("tr", *names)), tag("tbody", *rows), class_="many sorted")


def _number(value: float, shown: str | Html | None = None) -> Html:
    return tag("td", whole(value) if shown is None else shown, class_="number", data_value=f"{value:.9g}")


def opening(name: str, cell: int | None) -> str | Html:
    """A name that opens samples, where there are some."""
    return name if cell is None else tag("button", name, class_="open", data_cell=cell)
