"""When is a round cut from the log of kept documents? A run and a sweep ask the same function. Pure."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import pyarrow as pa

END = "end"  # nothing is left, and nothing comes


class Cut(NamedTuple):
    """A round is cut now: why, and as of which window its replay is drawn."""

    closed: str  # tokens | drained | seconds | starved | END
    sampled_window: int


def cut_round(
    log: pa.Table,
    last_window: int,
    fresh_tokens: int,
    *,
    drained: bool,
    is_late: Callable[[bool], bool] = lambda has_fresh: False,
) -> Cut | None:
    """Decide from the documents that wait (`num_tokens`, `window`, in the order of the log); None: wait for more.

    drained: nothing comes behind `last_window`. is_late: whether the round has waited too long, asked only where it
    matters, with whether any document waits.

    >>> log = pa.table({"window": [3, 4], "num_tokens": [6, 5]})
    >>> cut_round(log, 4, 12, drained=False)  # 13 positions, as each document ends with a token of its own
    Cut(closed='tokens', sampled_window=2)
    >>> cut_round(log, 4, 13, drained=False) is None, cut_round(log, 4, 13, drained=True).closed
    (True, 'drained')
    """
    has_fresh = log.num_rows > 0
    if int(np.sum(log["num_tokens"].to_numpy())) + log.num_rows > fresh_tokens:
        closed = "tokens"
    elif drained:
        closed = "drained" if has_fresh else END
    elif is_late(has_fresh):
        closed = "seconds" if has_fresh else "starved"
    else:
        return None
    return Cut(closed, int(log["window"][0].as_py()) - 1 if has_fresh else last_window)
