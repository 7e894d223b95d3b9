"""How does a card become a page that needs nothing else? In the style of the report, light and dark, also on phones."""

from ray_jobs.cards.blocks import Block, Card, CardPart, Code, Grid, Picture, Points, Words
from ray_jobs.report.charts.section import figure, section
from ray_jobs.report.charts.svg import Html, joined, tag
from ray_jobs.report.page import page

SHORT = 28  # characters of a cell that stays in one line


def web_page(card: Card) -> str:
    """Write a card as one self-contained HTML document."""
    shown = [joined([tag("b", number), f" {name}"]) for number, name in card.facts]
    header = tag(
        "header",
        tag("p", tag("b", "headrace"), f" · {card.kicker}", class_="kicker"),
        tag("h1", card.sentence),
        tag("p", tag("code", card.title), class_="named"),
        tag("div", *(_tile(number, name) for number, name in card.facts[:3]), class_="tiles"),
        tag("p", Html(" · ".join(shown[3:])), class_="facts") if shown[3:] else None,
    )
    main = tag("main", header, *map(_part, card.parts), tag("footer", card.footer))
    return page(f"{card.title} – headrace", tag("body", main))


def _tile(number: str, name: str) -> Html:
    return tag("div", tag("b", number), tag("span", name))


def _part(part: CardPart) -> Html:
    return section(part.title, part.lead, *map(_block, part.blocks))


def _block(block: Block) -> Html:
    match block:
        case Words():
            return tag("p", block.text)
        case Points():
            return tag("ul", *(tag("li", item) for item in block.items), class_="reasons")
        case Code():
            return tag("pre", *(joined([line, Html("\n")]) for line in block.lines))
        case Grid():
            return _grid(block)
        case Picture():
            chart = figure(block.chart, block.title, block.unit)
            return tag("div", chart, class_="narrow") if block.is_narrow else chart


def _grid(grid: Grid) -> Html:
    columns = len(grid.head)
    rows = [[_cell("td", cell, place >= columns - grid.numbers) for place, cell in enumerate(row)] for row in grid.rows]
    if not any(grid.head):  # names and values
        return tag("figure", tag("table", *(tag("tr", *row) for row in rows), class_="keyed"))
    head = [_cell("th", cell, place >= columns - grid.numbers) for place, cell in enumerate(grid.head)]
    return tag("figure", tag("table", tag("tr", *head), *(tag("tr", *row) for row in rows), class_="many"))


def _cell(name: str, content: str, is_number: bool) -> Html:
    return tag(name, content, class_="number" if is_number else "word" if len(content) <= SHORT else None)
