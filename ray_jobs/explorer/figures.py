"""What does the explorer tell? The same figures for the page and for `--json`."""

import msgspec

from ray_jobs.report.losses import StageFigures

Counts = dict[str, int]  # by outcome; one that does not occur is left out


class SourceFigures(msgspec.Struct, frozen=True):
    """One source. num_bytes: of all its texts; num_tokens: of those that are still there."""

    source: str
    records: int
    num_bytes: int
    num_tokens: int
    outcomes: Counts


class MonthFigures(msgspec.Struct, frozen=True):
    """Records of one source and month of event time (UTC); month: 2026-01, or None where no time is known."""

    source: str
    month: str | None
    outcomes: Counts


class LengthFigures(msgspec.Struct, frozen=True):
    """Records of one source whose texts have 2^octave to 2^(octave+1) - 1 bytes; what was not read has no length."""

    source: str
    octave: int
    outcomes: Counts


class SiteFigures(msgspec.Struct, frozen=True):
    """Records of one site in one source."""

    site: str
    source: str
    records: int
    num_tokens: int
    outcomes: Counts


class SampleFigures(msgspec.Struct, frozen=True):
    """A record to look at. text: its beginning; None where it is not kept."""

    id: str | None
    place: str
    external_id: str | None
    time: str | None
    fate: str
    reason: str | None
    num_bytes: int
    num_tokens: int
    text: str | None
    is_cut: bool


class SampledCell(msgspec.Struct, frozen=True):
    """Samples of a source and outcome (and reason), or of a site in a source."""

    source: str
    outcome: str | None
    reason: str | None
    site: str | None
    samples: list[SampleFigures]


class AloneFigures(msgspec.Struct, frozen=True):
    """Of so many records of a source, read again from it, so many a rule drops that sees them as they came."""

    source: str
    reason: str
    meaning: str
    records: int
    dropped: int


class Explored(msgspec.Struct, frozen=True):
    """All that the page shows."""

    store: str
    runs: list[str]  # whose weights "trained" is of
    windows: int
    records: int
    outcomes: Counts
    sources: list[SourceFigures]
    months: list[MonthFigures]
    lengths: list[LengthFigures]
    num_sites: int  # of all; a site of two sources counts twice
    sites: list[SiteFigures]  # the largest first, up to a stated number
    further_records: int  # of sites that are not shown
    largest_further: int  # the most records that one of these has
    funnel: list[StageFigures]
    alone: list[AloneFigures]  # empty where the sources were not read again
    samples: list[SampledCell]
