"""Is everything that the tables of a lake hold what was written there?

Every row of every table is read and compared with its digest; where a stretch of windows, or a run's rounds, cannot be
read as a whole, it is taken apart until the window or the round is named. Reads the whole lake: at about the speed of
its disk.
"""

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from cluster.storage.retry import one_line
from data_ops.kernels.arrays import Ids, ids_to_array
from data_ops.kernels.id_sets import is_member
from data_ops.lake.lake import Lake
from data_ops.rounds.manifest import Manifest

ROWS_AT_ONCE = 50_000
Answer = TypeVar("Answer")


def damage_of_lake(lake: Lake, runs: Iterable[str] = ()) -> list[str]:
    """A sentence for each thing in the tables that is not what was written; [] if all of it is.

    runs: names of runs, besides those of which the tables have rows.
    """
    found: list[str] = []
    last = attempt(found, lake.last_window, "windows")
    whole: list[str] = []
    attempt(whole, lake.windows, "windows")
    for number in range((-1 if last is None else last) + 1) if whole else ():
        attempt(found, partial(lake.arrivals, number, number), f"window {number}")
    found += [sentence for sentence in whole if not found]
    found += damage_of_documents(lake, -1 if last is None else last)
    for run in sorted({*runs, *(attempt(found, lake.runs, "runs") or ())}):
        found += damage_of_run(lake, run)
    return list(dict.fromkeys(found))


def windows_without_digest(lake: Lake) -> int:
    """How many windows an older version committed, without a digest of their documents."""
    return sum(window.documents is None for window in lake.windows(whole=False)[0])


def damage_of_documents(lake: Lake, last: int) -> Iterator[str]:
    """What is wrong with the documents of windows 0..last, window by window."""
    found: list[str] = []
    forgotten = attempt(found, lake.forgotten, "forgotten")
    stretches = attempt(found, partial(lake.stretches, 0, last, ROWS_AT_ONCE), "documents")
    yield from found
    for first, end in stretches or ():
        rows = attempt([], partial(lake.stored, first, end), "")
        if rows is None:
            for number in range(first, end + 1):
                wrong: list[str] = []
                attempt(wrong, partial(lake.stored, number, number), f"window {number}")
                yield from wrong
        elif forgotten is not None:
            yield from _not_in_forgotten(rows, forgotten)


def _not_in_forgotten(rows: pa.Table, forgotten: Ids) -> Iterator[str]:
    gone = rows.filter(pc.equal(rows["fate"], "forgotten"))
    strangers = ~is_member(ids_to_array(gone["id"]), forgotten) if gone.num_rows else np.zeros(0, bool)
    if strangers.any():
        yield f"forgotten: {strangers.sum()} documents were forgotten and are not named there any more"


def damage_of_run(lake: Lake, run: str) -> list[str]:
    """What is wrong with the rounds and the notes of a run."""
    found: list[str] = []
    for number in range(attempt(found, partial(lake.num_rounds, run), f"rounds of {run}") or 0):
        what = f"round {number} of run {run}"
        attempt(found, partial(_read_round, lake, run, number), what)
    attempt(found, partial(lake.ledger, run), f"ledger of run {run}")
    return found


def _read_round(lake: Lake, run: str, number: int) -> Manifest:
    return Manifest.from_row(lake.rounds(run, number), 0)


def attempt(found: list[str], ask: Callable[[], Answer], what: str) -> Answer | None:
    """Ask; what fails, whatever of three libraries says so, is one sentence more and None."""
    try:
        return ask()
    except Exception as error:  # noqa: BLE001 - damaged bytes make every reader fail in its own way
        told = one_line(error)
        found.append(told if what in told else f"{what}: {told}")
        return None
