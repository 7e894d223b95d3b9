"""What of the figures does the page's script get, in how few bytes?

Sites travel as columns, ordered by name and each without the letters it shares with the one before: 100,000 of them are
about 3 MB, and the script unfolds and searches them in a moment.
"""

import json
from collections.abc import Sequence

from cluster.readable import size
from ray_jobs.explorer.drawings import WORDS
from ray_jobs.explorer.figures import Explored, SampledCell, SiteFigures


def script_data(figures: Explored) -> str:
    """JSON that cannot end the element it stands in; the same figures give the same bytes."""
    sites = [(c.source, c.site, number) for number, c in enumerate(figures.samples) if c.site is not None]
    data = {
        "outcomes": [[name, WORDS[name]] for name in figures.outcomes],
        "sources": [one.source for one in figures.sources],
        "sites": _packed(figures.sites, [one.source for one in figures.sources], list(figures.outcomes)),
        "further": figures.num_sites - len(figures.sites),
        "samples": [_cell(cell) for cell in figures.samples],
        "sampled": sites,
    }
    written = json.dumps(data, ensure_ascii=False, separators=(",", ":"))
    return written.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _packed(sites: Sequence[SiteFigures], sources: Sequence[str], outcomes: Sequence[str]) -> dict[str, object]:
    """Sites as columns in the order of their names; shared: how many characters are those of the name before."""
    ordered = sorted(sites, key=lambda one: (one.site, one.source))
    places, before = {source: place for place, source in enumerate(sources)}, ""
    shared, rest = [], []
    for one in ordered:
        common = one.site[: _common(before, one.site)]
        shared.append(len(common.encode("utf-16-le")) // 2)  # as a script counts
        rest.append(one.site[len(common) :])
        before = one.site
    counts = [[one.outcomes.get(name, 0) for one in ordered] for name in outcomes]
    return {"shared": shared, "rest": rest, "source": [places[one.source] for one in ordered], "counts": counts}


def _cell(cell: SampledCell) -> dict[str, object]:
    what = cell.site or " · ".join(
        filter(None, [WORDS.get(cell.outcome or "", ""), (cell.reason or "").replace("_", " ")])
    )
    samples = [
        {
            "place": one.place,
            "about": [
                one.external_id,
                one.time,
                size(one.num_bytes),
                f"{one.num_tokens} tokens" if one.num_tokens else None,
            ],
            "fate": [WORDS.get(one.fate, one.fate), one.reason and one.reason.replace("_", " ")],
            "id": one.id,
            "text": one.text,
            "cut": one.is_cut,
        }
        for one in cell.samples
    ]
    return {"title": what, "source": cell.source, "samples": samples}


def _common(one: str, other: str) -> int:
    """How many characters two names begin with alike."""
    return next((n for n, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))
