"""Which records are shown as samples, and how do strangers' texts become harmless and short?"""

from collections.abc import Mapping, Sequence

from cluster.readable import visible
from cluster.redaction import redact
from data_ops.documents.place import Place
from data_ops.lake.lake import Lake
from data_ops.survey.corpus import Corpus
from data_ops.survey.rereading import Read, texts_again
from data_ops.survey.samples import Record, records_at
from ray_jobs.explorer.figures import SampledCell, SampleFigures, SiteFigures

SITES_SAMPLED = 200  # the largest ones
TEXT_CHARS = 600
Cell = tuple[str, str | None, str | None, str | None]  # source, outcome, reason, site


def samples_of(lake: Lake, corpus: Corpus, sites: Sequence[SiteFigures], read: Read | None) -> list[SampledCell]:
    """Read the samples that a survey chose; of sites those of the first SITES_SAMPLED. Each text is read once.

    read: from where the texts of dropped records are had again; None: they are left out.
    """
    largest = {(visible(one.site), one.source) for one in sites[:SITES_SAMPLED]}
    cells: dict[Cell, list[Place]] = {}
    for row in corpus.by_reason.to_pylist():
        cells.setdefault((row["source"], row["outcome"], row["reason"], None), []).append(_place(row))
    for row in corpus.by_site.to_pylist():
        if (visible(row["site"]), visible(row["source"])) in largest:
            cells.setdefault((row["source"], None, None, row["site"]), []).append(_place(row))
    records = records_at(lake, {place for places in cells.values() for place in places})
    dropped = [record for record in records.values() if record.fate == "dropped"]
    for place, text in (texts_again(lake, dropped, read) if read else {}).items():
        records[place] = records[place]._replace(text=text)
    found = []
    for (source, outcome, reason, site), places in cells.items():
        shown = [_sample(records[place]) for place in places if place in records]
        found.append(SampledCell(visible(source), _named(outcome), _named(reason), _named(site), shown))
    return found


def _named(name: str | None) -> str | None:
    return None if name is None else visible(name)


def _place(row: Mapping[str, int]) -> Place:
    return Place(row["window"], row["position"])


def _sample(record: Record) -> SampleFigures:
    text = record.text
    return SampleFigures(
        id=None if record.id is None else record.id.hex(),
        place=_shown(f"{record.source}:{record.partition}:{record.offset}"),
        external_id=None if record.external_id is None else _shown(record.external_id),
        time=record.event_time.isoformat(timespec="seconds") if record.event_time else None,
        fate=record.fate,
        reason=None if record.reason is None else visible(record.reason),
        num_bytes=record.num_bytes,
        num_tokens=record.num_tokens,
        text=None if text is None else lines_shown(text[:TEXT_CHARS]),
        is_cut=text is not None and len(text) > TEXT_CHARS,
    )


def lines_shown(text: str) -> str:
    """Text as it may be looked at: lines and tabs as they are, every other control or direction character visible.

    >>> print(lines_shown("one" + chr(10) + "two" + chr(0x202E)))
    one
    two\\u202e
    """
    return "\n".join(visible(line) for line in text.expandtabs(4).split("\n"))


def _shown(name: str) -> str:
    """A name with the secrets of a URL masked, at most 300 characters."""
    return visible(str(redact({"name": name})["name"])[:300])
