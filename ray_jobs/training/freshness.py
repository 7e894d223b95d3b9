"""How long did documents take from their own time to the lake, to a gradient, to a champion, source by source?

A document's own time is the record's, or, where it has none, when its file was written. Seconds of many documents are
told as a few of their quantiles, so that an event stays small whatever a step holds.
"""

import numpy as np
import numpy.typing as npt

MOST = 16  # values of a source that an event holds


def spread_of(seconds: npt.NDArray[np.float64], most: int = MOST) -> tuple[float, ...]:
    """Return the sorted values, or quantiles of them where there are more than `most`.

    >>> spread_of(np.array([3.0, 1.0])), len(spread_of(np.arange(100.0)))
    ((1.0, 3.0), 16)
    """
    shown = np.sort(seconds) if len(seconds) <= most else np.quantile(seconds, np.linspace(0, 1, most))
    return tuple(round(float(value), 3) for value in shown)


def by_source(sources: npt.NDArray[np.str_], seconds: npt.NDArray[np.float64]) -> dict[str, tuple[float, ...]]:
    """Tell the seconds of the documents of each source."""
    return {str(label): spread_of(seconds[sources == label]) for label in np.unique(sources)}
