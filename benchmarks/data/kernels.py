"""How do the figures of the two number-crunching benchmarks, reservoir and packing, become lines of the table?

Each has a `measure` of its own with more detail than the table shows; it goes along as raw figures.
"""

from benchmarks.data import packing, reservoir
from benchmarks.rows import Goal, Row


def measure_reservoir(quick: bool) -> list[Row]:
    """Rows added a second to a reservoir of 1e5, against plain numpy and against copying the same bytes."""
    found = reservoir.measure(1_000_000 if quick else 50_000_000)
    speeds = found["million_rows_per_s_per_core"]
    memory, copy = values(speeds["from_memory"]), speeds["copy_from_memory"]
    cached, plain = values(speeds["decay_and_weights"]), speeds["plain_numpy"]
    what = "reservoir add, capacity 1e5, decay and weights"
    why = "Half of the time is hash, bound and checks of each row in plain loops; the rest goes to the 2 % that pass."
    note = f"rows visit the cache first; the sample equals plain numpy's: {found['same_sample_as_plain_numpy']}."
    goal = Goal(60, of_ratio=False)
    unit = "M rows/s/core"
    return [
        Row(what, unit, cached, "plain numpy", [plain], [v / plain for v in cached], goal, why, note, found),
        Row(f"{what}, from memory", unit, memory, "copying the same bytes", [copy], [v / copy for v in memory]),
    ]


def measure_packing(quick: bool) -> list[Row]:
    """Documents packed a second, and what is padding or cut, against concatenate-and-cut."""
    found = packing.measure(50_000 if quick else 2_000_000)
    rows = []
    for row_tokens, figures in found["rows"].items():
        what, cut = f"packing into rows of {row_tokens}", [figures["cut_share_of_concatenate_and_cut"]]
        speed = values(figures["million_documents_per_s"])
        padding = figures["padding_share"]
        rows += [
            Row(
                what,
                "M documents/s",
                speed,
                goal=Goal(5, of_ratio=False),
                why="Best fit looks for a row for every document; other processes share the cache.",
                raw=figures,
            ),
            Row(
                f"{what}: padding",
                "",
                [padding],
                goal=Goal(1e-4, at_least=False, of_ratio=False),
                why="The last row is a larger share of few documents; the goal is meant at scale.",
            ),
            Row(
                f"{what}: documents cut that would fit a row",
                "",
                [figures["cut_share"]],
                "concatenate and cut",
                cut,
                goal=Goal(0, at_least=False, of_ratio=False),
                why="A document that fits a row was cut: a defect.",
            ),
        ]
    return rows


def values(found: dict[str, float]) -> list[float]:
    """Median and range as three values, whose median and range they are."""
    return sorted([found["low"], found["median"], found["high"]])
