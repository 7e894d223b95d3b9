"""Is a folder a Delta table, and how would it be configured?

Its columns are told by name and type; no text is read. Raises what a look raises (source.py).
"""

from collections.abc import Sequence
from typing import NamedTuple

from cluster.readable import many, size
from cluster.storage.store import Store
from data_ops.sources.delta.config import DeltaConfig
from data_ops.sources.delta.log import DeltaLog
from data_ops.sources.delta.reached import anew
from data_ops.sources.delta.source import TEXT_TYPES


class DeltaGuess(NamedTuple):
    """A table that can be read: its configuration, what is in it in words, and the bytes of its files."""

    config: DeltaConfig
    told: str
    num_bytes: int


def guess_delta(path: str, texts: Sequence[str], times: Sequence[str], ids: Sequence[str]) -> DeltaGuess | None:
    """Look at a folder; None where it is no Delta table. The others: what columns are called, likely names first.

    OSError, in a sentence, where its log cannot be read or no column holds texts.
    """
    store = Store.open(path)
    if not store.exists("_delta_log"):
        return None
    log = DeltaLog(path)
    opened = log.open()
    if opened is None:
        raise OSError(f"{path} has a folder _delta_log without a version in it; write the table first")
    columns = {name: column.type for name, column in opened.columns.items() if not column.is_of_partition}
    text = next((name for name in texts if columns.get(name) in TEXT_TYPES), None)
    if text is None:
        raise OSError(
            f"{path} is a Delta table without a column of text that is called {', '.join(texts)}; write a "
            "configuration by hand (docs/tables.md) and name the column"
        )
    time, name = (next((each for each in names if each in opened.columns), None) for names in (times, ids))
    listing = log.listing(anew(opened.now, 0))
    files = listing.commit.files if listing else ()
    num_bytes = sum(file.num_bytes for file in files)
    told = f"a Delta table at version {opened.now.version}: {many(len(files), 'file')}, {size(num_bytes)}"
    return DeltaGuess(DeltaConfig(path=path, text=text, time=time, id=name), told, num_bytes)
