"""Where may a long text be cut into documents?

Only before given lines, so that a piece begins where a reader would begin: a function, a class, a member, a
paragraph. Nothing is left out and nothing comes twice; the price is that one huge function stays one huge
piece.
"""

import ast
from pathlib import Path

MIN_CHUNK_CHARS, MAX_CHUNK_CHARS = 500, 3000


def cut_source(path: Path) -> list[tuple[int, str]]:
    """Cut a source file before top-level statements into texts of 0.5 to 3 kB or so: (line, text) in order.

    A longer class is cut before its members. Nothing is left out, nothing comes twice.
    """
    try:
        text = path.read_text(encoding="utf-8")
        tree = ast.parse(text)
    except (UnicodeDecodeError, SyntaxError):
        return []  # lib2to3 carries such files on purpose
    lines = text.splitlines(keepends=True)
    outer = [_first_line(node) for node in tree.body]
    classes = [node for node in tree.body if isinstance(node, ast.ClassDef)]
    inner = [_first_line(member) for node in classes for member in node.body]
    chunks: list[tuple[int, str]] = []
    for line, piece in cut_lines(lines, 1, outer, MIN_CHUNK_CHARS):
        if len(piece) <= MAX_CHUNK_CHARS:
            chunks.append((line, piece))
        else:
            chunks += cut_lines(piece.splitlines(keepends=True), line, inner, MAX_CHUNK_CHARS // 3)
    return chunks


def _first_line(node: ast.stmt) -> int:
    decorators = getattr(node, "decorator_list", [])
    return min([node.lineno, *(decorator.lineno for decorator in decorators)])


def cut_lines(lines: list[str], first: int, starts: list[int], min_chars: int) -> list[tuple[int, str]]:
    """Cut lines (the first has number `first`) before the lines `starts` once `min_chars` are together."""
    allowed = set(starts)
    pieces: list[tuple[int, str]] = []
    begin, size = 0, 0
    for index, line in enumerate(lines):
        if size >= min_chars and first + index in allowed:
            pieces.append((first + begin, "".join(lines[begin:index])))
            begin, size = index, 0
        size += len(line)
    return [*pieces, (first + begin, "".join(lines[begin:]))] if size else pieces
