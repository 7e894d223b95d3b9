"""What is a card made of, whether it is read as Markdown or as a page?

Plain text and figures; each renderer makes all of it harmless in its own way, so that nobody who builds a card has to.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from pydantic import JsonValue

from ray_jobs.report.charts.svg import Html


@dataclass(frozen=True)
class Words:
    """A paragraph."""

    text: str


@dataclass(frozen=True)
class Points:
    """A list of sentences."""

    items: Sequence[str]


@dataclass(frozen=True)
class Code:
    """Lines to be copied, of a language."""

    language: str
    lines: Sequence[str]


@dataclass(frozen=True)
class Grid:
    """A table; of `numbers` columns from the right the cells are figures."""

    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    numbers: int = 0


@dataclass(frozen=True)
class Picture:
    """A chart under its title and unit; only a page shows it, so a grid beside it has the figures."""

    chart: Html
    title: str
    unit: str
    is_narrow: bool = False  # drawn for a half of the page


Block = Words | Points | Code | Grid | Picture


@dataclass(frozen=True)
class CardPart:
    """A section."""

    title: str
    blocks: Sequence[Block]
    lead: str | None = None


@dataclass(frozen=True)
class Card:
    """A whole card. kicker: small words above the title; facts: (figure, what it is of); front: YAML of the hub."""

    kicker: str
    title: str
    sentence: str
    facts: Sequence[tuple[str, str]]
    parts: Sequence[CardPart]
    front: dict[str, JsonValue] = field(default_factory=dict)
    footer: str = ""
