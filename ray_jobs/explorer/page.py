"""How do the figures become one page that needs nothing else, and in which people can search?

Charts and tables are markup that is there without a script; the script (explorer.js) sorts, searches among all sites
and shows samples. Whatever a stranger wrote is text on this page, never markup: it is escaped here and in the script's
data (script_data.py), and the script only sets text.
"""

from collections.abc import Sequence
from importlib.resources import files

from cluster.readable import many, share, short, whole
from ray_jobs.explorer.drawings import legend
from ray_jobs.explorer.figures import Explored
from ray_jobs.explorer.script_data import script_data
from ray_jobs.explorer.sections import how_to_read, opening, rules_alone, source_table, times_and_lengths
from ray_jobs.report.charts.section import section
from ray_jobs.report.charts.svg import Html, tag
from ray_jobs.report.losses import losses, plainly
from ray_jobs.report.page import page

LOST = ("dropped", "quarantined")
DIALOG = Html(
    '<dialog id="samples"><form method="dialog"><button class="close" aria-label="Close">×</button></form>'
    "<h2></h2><div></div></dialog>"
)


def explorer_page(figures: Explored) -> str:
    """Write the figures as one self-contained HTML document; the same figures give the same bytes."""
    script, style = (
        files("ray_jobs.explorer").joinpath(f"explorer.{kind}").read_text("utf-8") for kind in ("js", "css")
    )
    cells = {(c.source, c.outcome, c.reason): number for number, c in enumerate(figures.samples) if c.site is None}
    main = tag(
        "main",
        _header(figures),
        _search(figures),
        source_table(figures, cells),
        times_and_lengths(figures),
        losses(
            figures.funnel, lambda stage: opening(plainly(stage), cells.get((stage.source, stage.fate, stage.reason)))
        ),
        rules_alone(figures),
        how_to_read(figures),
        tag(
            "footer",
            "Written by headrace explore. The sums are those of headrace verify; headrace trace tells of one document.",
        ),
    )
    data = tag("script", Html(script_data(figures)), type="application/json", id="figures")
    return page(f"{figures.store} – explorer – headrace", tag("body", main, DIALOG, data), style, script)


def _header(figures: Explored) -> Html:
    months = sorted({one.month for one in figures.months if one.month})
    span = f", from {months[0]} to {months[-1]}" if months else ""
    counts = figures.outcomes
    lost = sum(counts.get(name, 0) for name in LOST)
    tiles = (
        (short(figures.records), "read", f"records in {many(figures.windows, 'window')}"),
        (short(counts.get("trained", 0)), "in the weights", _whose(figures.runs)),
        (short(lost), "left out", f"{share(lost / max(figures.records, 1))}: dropped by a rule, or not readable"),
    )
    said = f"{many(figures.num_sites, 'site')} of {many(len(figures.sources), 'source')}{span}."
    return tag(
        "header",
        tag("p", tag("b", "headrace"), " · what is in ", tag("b", figures.store), class_="kicker"),
        tag("h1", said),
        tag(
            "div",
            *(tag("div", tag("b", n, " ", tag("small", unit)), tag("span", told)) for n, unit, told in tiles),
            class_="tiles",
        ),
    )


def _whose(runs: Sequence[str]) -> str:
    if not runs:
        return "nothing was trained yet"
    return f"of run {runs[0]}" if len(runs) == 1 else f"of one of {len(runs)} runs"


def _search(figures: Explored) -> Html:
    more = ""
    if further := figures.num_sites - len(figures.sites):
        more = (
            f" And {whole(further)} further sites with {many(figures.further_records, 'record')}, none with more than "
            f"{whole(figures.largest_further)}: headrace explore --site NAME finds them."
        )
    box = Html(
        '<p class="ask"><input id="query" type="search" autocomplete="off" spellcheck="false" aria-label="Site" '
        'placeholder="Is my site in it? example.com"><select id="only" aria-label="Source"></select></p>'
        '<p id="verdict" aria-live="polite"></p><noscript><p class="none">Searching needs scripts; '
        "headrace explore --site NAME does without.</p></noscript>"
        '<figure><table id="sites" class="many"></table></figure><p><button id="more"></button></p>'
    )
    lead = f"A site is the host of a record's external id, else the folder or log it was read from.{more}"
    return section("Where it is from", lead, legend(figures.outcomes), box)
