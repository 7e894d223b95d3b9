"""How does a card become Markdown that the Hugging Face hub reads?

YAML front matter, then GitHub's Markdown. Every text is made harmless: what would be markup is spelled with a backslash
or as an HTML entity, and control characters become visible, so that no name can add a link, a tag or a line.
"""

import html
import re

import yaml

from cluster.readable import visible
from ray_jobs.cards.blocks import Block, Card, Code, Grid, Picture, Points, Words

MARKUP = re.compile(r"([\\`*_\[\]{}|~$#!])")
AT_THE_START = re.compile(r"^(\s*)([-+=])")
FENCE = "```"


def markdown(card: Card) -> str:
    """Write a card as Markdown with front matter."""
    lines = [f"# {plain(card.title)}", "", plain(card.sentence), ""]
    lines += [f"- **{plain(figure)}** {plain(name)}" for figure, name in card.facts]
    for part in card.parts:
        if part.lead is None and all(isinstance(block, Picture) for block in part.blocks):
            continue
        lines += ["", f"## {plain(part.title)}", ""]
        lines += [plain(part.lead), ""] if part.lead else []
        for block in part.blocks:
            lines += [*_lines(block), ""] if not isinstance(block, Picture) else []
    text = "\n".join([*lines, "---", "", f"{plain(card.kicker)}. {plain(card.footer)}"])
    return f"{front_matter(card)}\n{re.sub(chr(10) + '{3,}', chr(10) * 2, text)}\n"


def front_matter(card: Card) -> str:
    """The YAML block that the hub reads; no value can end it, because no text has a line break."""
    written = yaml.safe_dump(card.front, sort_keys=False, allow_unicode=True, width=1_000_000)
    return f"---\n{written}---\n"


def plain(text: object) -> str:
    """Spell a text so that Markdown shows it as it is.

    >>> plain("a_b <b> [x](http://y)")
    'a\\\\_b &lt;b&gt; \\\\[x\\\\](http&#58;//y)'
    """
    safe = MARKUP.sub(r"\\\1", html.escape(visible(text), quote=False))
    safe = re.sub("(?i)(www)\\.", r"\1&#46;", safe.replace("://", "&#58;//"))
    return AT_THE_START.sub(r"\1\\\2", safe)


def _lines(block: Block) -> list[str]:
    match block:
        case Words():
            return [plain(block.text)]
        case Points():
            return [f"- {plain(item)}" for item in block.items]
        case Code():
            return [f"{FENCE}{block.language}", *(visible(line).replace(FENCE, "'''") for line in block.lines), FENCE]
        case Grid():
            left = len(block.head) - block.numbers
            rule = ["---"] * left + ["---:"] * block.numbers
            rows = [[plain(cell) for cell in row] for row in block.rows]
            return [f"| {' | '.join(row)} |" for row in ([plain(cell) for cell in block.head], rule, *rows)]
        case Picture():
            return []
