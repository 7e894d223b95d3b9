"""Print the board: every line with its goal, and fail where a line is beyond what stands in GOALS.

`--write` writes the tree of docs/architecture.md anew.

`allowed` is the ceiling of a line that has not reached its goal yet; docs/scoreboard.md says why, and a change may only
lower it.
"""

import sys
from dataclasses import dataclass

from tests.board.measures import Figures, measure
from tests.board.source import PRODUCT, sources
from tests.board.starting import heavy_modules
from tests.board.tree import PAGE, page_with_tree
from tests.board.words import flags


@dataclass(frozen=True)
class Goal:
    """What a line is to reach, and what is put up with until then; `least`: more is better."""

    goal: float
    allowed: float | None = None
    least: bool = False

    def is_met(self, value: float) -> bool:
        """Has the line reached its goal?"""
        return value >= self.goal if self.least else value <= self.goal

    def is_allowed(self, value: float) -> bool:
        """Is the line where a change may leave it?"""
        bound = self.goal if self.allowed is None else self.allowed
        return value >= bound if self.least else value <= bound


GOALS = {
    "files a folder, p50": Goal(6, 7),
    "files a folder, max": Goal(12),
    "files a folder of tests or benchmarks, max": Goal(12, 16),
    "imports that go up between rooms": Goal(0),
    "rooms that import each other": Goal(0),
    "modules a file imports, p90": Goal(10, 17),
    "modules a file imports, max": Goal(20, 36),
    "imports inside functions": Goal(10, 97),
    "files that know private names of Ray, torch or DeepSpeed": Goal(3),
    "lines a file, p50": Goal(120),
    "lines a file, p90": Goal(220),
    "lines a file, max": Goal(300),
    "lines a test file, p90": Goal(300),
    "lines a test file, max": Goal(300, 527),
    "lines a function, p90": Goal(20),
    "lines a function, max": Goal(50, 51),
    "functions over 40 lines, %": Goal(0.3, 0.6),
    "functions with more than 6 parameters, %": Goal(0.5),
    "parameters of a function, max": Goal(8, 11),
    "Any in signatures, per 1,000 lines": Goal(3),
    "Any in signatures that cross a room": Goal(0),
    "dict[str, Any] in signatures behind the JSON doors, per 1,000 lines": Goal(0.5),
    "**kwargs, per 1,000 lines": Goal(0.25, 0.5),
    "public returns typed, %": Goal(100, least=True),
    "type-ignores beside numba and DeepSpeed": Goal(0, 7),
    "public names defined twice": Goal(0),
    "public functions with a docstring, %": Goal(100, least=True),
    "raises that name the value, %": Goal(95, 91.3, least=True),
    "words of the house in the glossary": Goal(45),
    "product files with a test at the mirrored path, %": Goal(100, 50.7, least=True),
    "private names imported by tests": Goal(0, 6),
    "monkeypatch.setattr in tests": Goal(20, 140),
    "sentences that stop the reader": Goal(0),
    "heavy modules that `headrace --help` loads": Goal(0),
}


def figures() -> Figures:
    """Return every line of the board."""
    counted = measure()
    counted["sentences that stop the reader"] = len(flags(sources(*PRODUCT)))
    counted["heavy modules that `headrace --help` loads"] = len(heavy_modules())
    return counted


def lines(counted: Figures) -> list[str]:
    """Return the board as lines of text."""
    rows = []
    for name, value in counted.items():
        goal = GOALS.get(name)
        mark = "" if goal is None else "ok" if goal.is_met(value) else "red" if goal.is_allowed(value) else "BEYOND"
        wanted = "" if goal is None else f"{'>=' if goal.least else '<='} {goal.goal:g}"
        rows.append(f"{mark:>6}  {value:>9,.6g}  {wanted:>8}  {name}")
    return rows


def beyond(counted: Figures) -> list[str]:
    """Return the lines that a change has made worse than allowed."""
    return [name for name, goal in GOALS.items() if not goal.is_allowed(counted[name])]


if __name__ == "__main__":
    if "--write" in sys.argv:
        PAGE.write_text(page_with_tree(PAGE.read_text("utf-8")), "utf-8")
    found = figures()
    print("\n".join(lines(found)))
    if beyond(found):
        sys.exit(f"beyond what is allowed: {', '.join(beyond(found))}; see tests/board/__main__.py")
