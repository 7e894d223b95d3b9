"""Which sentences make a reader stop? Patterns of HOUSE's kinds, over docstrings and comments; each names its mend."""

import ast
import io
import re
import tokenize
from dataclasses import dataclass

from tests.board.source import Source

BECAUSE = "it they he she there this these what who nobody nothing everything we ours our each all".replace(" ", "|")
DOES = "appends looks reads writes asks was comes needs wants trains".replace(" ", "|")
PATTERNS = {
    rf"[,;] for ({BECAUSE}) ": "write *because*",
    rf"\b(who|whoever) (only |also |just )?({DOES})\b": "name the subject: *the writer*, *a reader*",
    r"\b(those|that|one) (who|which)\b": "name the noun",
    r"\bas it is for (ever|good)\b": "write *permanently*",
    r"\b(is|are|was|were) let go\b": "write *freed*",
    r"\bin vain\b": "say what fails",
    r"\bof (whom|which) (nobody|nothing|none|no one)\b": "split the sentence",
    r"\b(thereof|therein|whereof|wherein|hereby|thereby)\b": "use a plain word",
    r"\b(let alone|lest|ere|nigh|betwixt)\b": "use a plain word",
    r"\bthat of (one|it|them|those|these)\b": "repeat the noun",
}


@dataclass(frozen=True)
class Flag:
    """A sentence to be rewritten."""

    place: str
    text: str
    mend: str


def flags(files: list[Source]) -> list[Flag]:
    """Return what the patterns find in docstrings and comments."""
    found = []
    for file in files:
        for line, text in _prose(file):
            flat = " ".join(text.split())
            for pattern, mend in PATTERNS.items():
                for match in re.finditer(pattern, flat):
                    around = flat[max(0, match.start() - 30) : match.end() + 30]
                    found.append(Flag(f"{file.name}:{line}", around, mend))
    return found


def _prose(file: Source) -> list[tuple[int, str]]:
    owners = [
        n for n in file.nodes if isinstance(n, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
    ]
    found = [(getattr(owner, "lineno", 1), ast.get_docstring(owner) or "") for owner in owners]
    tokens = tokenize.generate_tokens(io.StringIO(file.text).readline)
    return found + [(t.start[0], t.string) for t in tokens if t.type == tokenize.COMMENT]
