"""How does the house look? The tree of docs/architecture.md: every room with the sentence that it says of itself."""

import ast
import re

from tests.board.rooms import FLOORS, floor
from tests.board.source import PRODUCT, Source, sources
from tests.support.root import ROOT

PAGE = ROOT / "docs" / "architecture.md"
MARKED = re.compile(r"(<!-- tree -->\n).*?(<!-- /tree -->)", re.DOTALL)


def tree() -> str:
    """Return the rooms, one a line, from the ground up, indented as they stand inside one another."""
    rooms = [file for file in sources(*PRODUCT) if file.path.name == "__init__.py"]
    lines = []
    for package in PRODUCT:
        ours = [room for room in rooms if room.module.split(".")[0] == package]
        lines += [_line(room) for room in sorted(ours, key=_order)]
    return "```\n" + "\n".join(lines) + "\n```\n"


def _order(room: Source) -> list[tuple[int, str]]:
    """From the ground up, as a document goes."""
    parts = room.module.split(".")
    houses = [".".join(parts[:depth]) for depth in range(len(parts))]
    return [(floor(h, part) if h in FLOORS else 0, part) for h, part in zip(houses, parts, strict=True)]


def _line(room: Source) -> str:
    depth = room.module.count(".")
    name = "  " * depth + room.module.rpartition(".")[2] + "/"
    return f"{name:<22}{_sentence(room)}"


def _sentence(room: Source) -> str:
    text = " ".join((ast.get_docstring(room.tree) or "").split())
    return text.partition(": ")[2] or text


def page_with_tree(page: str) -> str:
    """Return the page with the tree as it is now."""
    return MARKED.sub(lambda match: match[1] + tree() + match[2], page)
