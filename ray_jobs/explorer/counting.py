"""How do the sums of a survey become the figures that are told?

Whatever a stranger wrote (sites, sources, external ids, texts) is made visible here: no character of it can steer a
terminal or turn a line around. Escaping for HTML is the page's business.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from itertools import groupby
from typing import TypedDict

import pyarrow as pa

from cluster.readable import visible
from data_ops.survey.corpus import OUTCOMES, Corpus
from ray_jobs.explorer.figures import Counts, Explored, LengthFigures, MonthFigures, SiteFigures, SourceFigures
from ray_jobs.report.losses import stage_figures

SITES_SHOWN = 100_000  # about 3 MB of page


class SumRow(TypedDict):
    """A row of any of the tables of a survey; each has some of these columns."""

    source: str
    site: str
    month: datetime | None
    octaves: int
    outcome: str
    records: int
    num_bytes: int
    num_tokens: int


def explored(
    corpus: Corpus, store: str, runs: Sequence[str], order: Sequence[str], *, most_sites: int = SITES_SHOWN
) -> Explored:
    """Put a survey into figures, still without samples; order: of the reasons, as rules apply."""
    sources = [_source(source, list(rows)) for source, rows in groupby(_rows(corpus.months), lambda row: row["source"])]
    sites = all_sites(corpus.sites)
    shown, further = sites[:most_sites], sites[most_sites:]
    return Explored(
        store=visible(store),
        runs=list(runs),
        windows=corpus.num_windows,
        records=sum(one.records for one in sources),
        outcomes=_ordered(sum((Counter(one.outcomes) for one in sources), Counter())),
        sources=sources,
        months=_months(corpus.months),
        lengths=_lengths(corpus.lengths),
        num_sites=len(sites),
        sites=shown,
        further_records=sum(one.records for one in further),
        largest_further=further[0].records if further else 0,
        funnel=stage_figures(corpus.months, corpus.blocks, corpus.num_blocks, order),
        alone=[],
        samples=[],
    )


def all_sites(sites: pa.Table) -> list[SiteFigures]:
    """Every site of `Corpus.sites`, the one with the most records first."""
    found = []
    for (site, source), group in groupby(_rows(sites), lambda row: (row["site"], row["source"])):
        rows = list(group)
        counts, tokens = _counts(rows), sum(row["num_tokens"] for row in rows)
        found.append(SiteFigures(visible(site), visible(source), sum(counts.values()), tokens, counts))
    return sorted(found, key=lambda one: (-one.records, one.site, one.source))


def _source(source: str, rows: list[SumRow]) -> SourceFigures:
    counts = _counts(rows)
    size, tokens = sum(row["num_bytes"] for row in rows), sum(row["num_tokens"] for row in rows)
    return SourceFigures(visible(source), sum(counts.values()), size, tokens, counts)


def _months(months: pa.Table) -> list[MonthFigures]:
    grouped = groupby(_rows(months), lambda row: (row["source"], row["month"]))
    return [
        MonthFigures(visible(source), f"{month.year:04d}-{month.month:02d}" if month else None, _counts(rows))
        for (source, month), rows in grouped
    ]


def _lengths(lengths: pa.Table) -> list[LengthFigures]:
    """Of what has a text, or had one when it was dropped."""
    rows = [row for row in _rows(lengths) if row["outcome"] not in ("quarantined", "forgotten")]
    rows.sort(key=lambda row: (row["source"], row["octaves"]))
    grouped = groupby(rows, lambda row: (row["source"], row["octaves"]))
    return [LengthFigures(visible(source), octave, _counts(each)) for (source, octave), each in grouped]


def _rows(table: pa.Table) -> list[SumRow]:
    found: list[SumRow] = table.to_pylist()
    return found


def _counts(rows: Iterable[SumRow]) -> Counts:
    """Records by outcome, in the order of OUTCOMES."""
    found: Counter[str] = Counter()
    for row in rows:
        found[row["outcome"]] += row["records"]
    return _ordered(found)


def _ordered(counts: Mapping[str, int]) -> Counts:
    return {outcome: counts[outcome] for outcome in OUTCOMES if counts.get(outcome)}
