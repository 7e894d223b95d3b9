"""What stands at these places of the log? The texts and origins of samples, read again from the windows they are in.

Texts of dropped records are not in the lake; `records_at` tells where they stand in their sources.
"""

from collections.abc import Iterable
from datetime import datetime
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from data_ops.documents.place import Place, place_keys
from data_ops.lake.lake import Lake

ROWS_AT_ONCE = 20_000  # texts included
COLUMNS = ["window", "position", "id", "source", "partition", "offset", "external_id", "event_time", "fate", "reason"]
COLUMNS += ["num_bytes", "num_tokens", "text"]


class Record(NamedTuple):
    """A record of the lake. id: None where it could not be read; text: None where it is not kept."""

    window: int
    position: int
    id: bytes | None
    source: str
    partition: str
    offset: int
    external_id: str | None
    event_time: datetime | None
    fate: str
    reason: str | None
    num_bytes: int
    num_tokens: int
    text: str | None


def records_at(lake: Lake, places: Iterable[Place]) -> dict[Place, Record]:
    """Read these records; one that was forgotten meanwhile is left out. Memory holds a stretch of windows.

    Raises DamagedError where a window is not what was written.
    """
    wanted = np.array(sorted({place.key for place in places}), np.int64)
    windows, found = np.unique(wanted >> 32), dict[Place, Record]()
    for low, high in lake.stretches(0, lake.last_window(), ROWS_AT_ONCE):
        inside = windows[(windows >= low) & (windows <= high)]
        if not len(inside):
            continue
        rows = lake.documents(int(inside[0]), int(inside[-1]), COLUMNS)
        keys = place_keys(rows["window"].to_numpy(), rows["position"].to_numpy())
        for row in rows.take(pa.array(np.flatnonzero(np.isin(keys, wanted)))).to_pylist():
            record = Record(**row)
            if record.fate != "forgotten":
                found[Place(record.window, record.position)] = record
    return found
