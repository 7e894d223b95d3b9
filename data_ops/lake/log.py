"""How is the log of kept documents read: each window once, and texts in the order in which a round wants them?"""

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from data_ops.documents.frontier import Frontier
from data_ops.documents.place import Documents, Place
from data_ops.kernels.arrays import Ids, array_to_ids, ids_to_array
from data_ops.kernels.id_sets import is_member
from data_ops.lake.lake import Lake

LOG_COLUMNS = ["id", "window", "position", "num_tokens", "num_bytes", "weight", "source", "event_time"]
TOKEN_COLUMNS = ["id", "tokens"]
ORIGIN_COLUMNS = ["window", "position", "source", "event_time"]
#: Tokens in one piece may be more than 2^31, which is where the offsets of the stored type end.
WIDE_TOKEN_SCHEMA = pa.schema([("id", pa.binary()), ("tokens", pa.large_list(pa.int32()))])
WINDOWS_AT_ONCE = 16  # how many windows are read with one look at the table, and in memory, to find replayed text


class RoundText(NamedTuple):
    """The text of a round's n documents in manifest order, in Arrow's list layout, and whence its fresh ones came."""

    tokens: npt.NDArray[np.int32]
    offsets: npt.NDArray[np.int64]
    arrived_s: npt.NDArray[np.float64]  # when the fresh documents arrived in the lake, unix
    blank: npt.NDArray[np.bool_]  # documents that were forgotten: they have no tokens, and nobody trains them
    event_s: npt.NDArray[np.float64]  # the fresh documents' own time: the record's, or that of their file
    sources: npt.NDArray[np.str_]  # labels of the fresh documents' sources; "" for a forgotten one


class PendingLog:
    """The part of the log that is not planned yet, read once; a window at a time is added as it is committed."""

    def __init__(self, lake: Lake) -> None:
        self.lake, self.rows, self.read_to = lake, None, -1  # type: Lake, pa.Table | None, int

    def after(self, stands: Frontier, last_window: int) -> pa.Table:
        """Kept documents that wait behind a frontier, up to a window, in order (LOG_COLUMNS)."""
        if self.rows is None:
            self.read_to = stands.base.window - 1
        if last_window > self.read_to or self.rows is None:
            new = self.lake.documents(self.read_to + 1, last_window, LOG_COLUMNS, ["kept"])
            self.rows = pa.concat_tables([self.rows, new]) if self.rows is not None else new
            self.read_to = max(self.read_to, last_window)
        places = self.rows["window"].to_numpy(), self.rows["position"].to_numpy()
        self.rows = self.rows.filter(pa.array(stands.waiting(self.rows["source"], *places)))
        return self.rows


def used_up(lake: Lake, stands: Frontier) -> Frontier:
    """Up to which whole windows no kept document waits behind a frontier, source by source."""
    waits = dict[Place, set[str]]()  # behind a place, in its window: labels
    for place in {stands.base, *stands.ahead.values()}:
        rows = lake.documents(place.window, place.window, ["position", "source"], ["kept"])
        behind = pa.array(rows["position"].to_numpy() >= place.position)
        waits[place] = set(rows.filter(behind)["source"].to_pylist())

    ahead = {label: Place(at.window + (label not in waits[at])) for label, at in stands.ahead.items()}
    others = Place(stands.base.window + (not waits[stands.base] - set(stands.ahead)))
    return Frontier.of_places(min([others, *ahead.values()]), ahead)


def text_of(lake: Lake, fresh: Documents, replay: Documents, held: Iterable[tuple[Ids, pa.ListArray]]) -> RoundText:
    """Bring a round's text: fresh documents from their windows, replayed ones from `held` or else from the lake."""
    columns, groups = [*TOKEN_COLUMNS, *ORIGIN_COLUMNS], list(_stretches(fresh.windows))
    logs = [lake.documents(first, last, columns, ["kept"]) for first, last in groups or [(0, -1)]]
    log = pa.concat_tables(logs)
    tables = [log]
    found = [np.empty((0, 2), np.uint64)]
    for ids, tokens in held:
        found.append(ids)
        tables.append(pa.table({"id": array_to_ids(ids).cast(pa.binary()), "tokens": tokens}))
    missing = replay.take(~is_member(replay.ids, np.concatenate(found)))
    windows = np.unique(missing.windows)
    for group in np.split(windows, np.flatnonzero(np.diff(windows // WINDOWS_AT_ONCE)) + 1):
        if len(group):
            rows = lake.documents(int(group[0]), int(group[-1]), TOKEN_COLUMNS, ["kept"])
            tables.append(rows.filter(pa.array(is_member(ids_to_array(rows["id"].combine_chunks()), missing.ids))))
    documents = fresh.join(replay)
    blank = is_member(documents.ids, lake.forgotten())
    tokens, offsets = tokens_in_order(tables, documents, blank)
    arrival = {number: at for group in groups for number, at in lake.arrivals(*group).items()}
    arrived_s = np.array([arrival[w] for w in fresh.windows.tolist()], np.float64)
    return RoundText(tokens, offsets, arrived_s, blank, *_origins(log, fresh, arrived_s))


def _stretches(windows: npt.NDArray[np.int64]) -> Iterable[tuple[int, int]]:
    """First and last window of each stretch in which fresh documents (in the order of the log) lie close together."""
    for group in np.split(windows, np.flatnonzero(np.diff(windows) > WINDOWS_AT_ONCE) + 1):
        if len(group):
            yield int(group[0]), int(group[-1])


def _origins(
    log: pa.Table, fresh: Documents, arrived_s: npt.NDArray[np.float64]
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.str_]]:
    """Each fresh document's own time and the label of its source; one that is forgotten has only arrived."""
    event_s, sources = arrived_s.copy(), np.full(len(fresh), "", dtype=object)
    if log.num_rows:
        places = (log["window"].to_numpy() << 32) | log["position"].to_numpy()  # sorted, as the log is
        wanted = (fresh.windows << 32) | fresh.positions
        at = np.minimum(np.searchsorted(places, wanted), len(places) - 1)
        there = places[at] == wanted
        event_s[there] = log["event_time"].cast(pa.int64()).to_numpy()[at[there]] * 1e-6
        sources[there] = np.array(log["source"].to_pylist(), dtype=object)[at[there]]
    return event_s, sources.astype(np.str_)


def tokens_in_order(
    tables: list[pa.Table], documents: Documents, blank: npt.NDArray[np.bool_] | None = None
) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int64]]:
    """Put the tokens of these documents in a row, in manifest order; Arrow's list layout: values, offsets [n+1].

    blank, bool[n]: forgotten documents, which have no tokens. Raises ValueError where others lack theirs.
    """
    blank = np.zeros(len(documents), np.bool_) if blank is None else blank
    if blank.all():
        return np.empty(0, np.int32), np.zeros(len(documents) + 1, np.int64)
    if blank.any():
        tokens, offsets = tokens_in_order(tables, documents.take(~blank))
        lengths = np.zeros(len(documents), np.int64)
        lengths[~blank] = np.diff(offsets)
        return tokens[offsets[0] : offsets[-1]], np.concatenate([[0], np.cumsum(lengths)])
    found = [t.select(TOKEN_COLUMNS).cast(WIDE_TOKEN_SCHEMA) for t in tables if t.num_rows]
    table = pa.concat_tables([WIDE_TOKEN_SCHEMA.empty_table(), *found])
    have = ids_to_array(table["id"].combine_chunks())
    where = np.lexsort((have[:, 1], have[:, 0]))
    words = _void(have[where])
    pick = np.searchsorted(words, _void(documents.ids))
    if np.any(pick >= len(words)) or np.any(words[np.minimum(pick, len(words) - 1)] != _void(documents.ids)):
        raise ValueError(f"the lake lacks text of some of {len(documents)} planned documents; run `headrace verify`")
    lists = table["tokens"].combine_chunks().take(pa.array(where[pick]))
    return lists.values.to_numpy(), lists.offsets.to_numpy().astype(np.int64)


def _void(ids: npt.NDArray[np.uint64]) -> npt.NDArray[np.bytes_]:
    """Ids as 16-byte strings in big-endian order, which sort as the pairs of words do."""
    return np.ascontiguousarray(ids.astype(">u8")).view("S16").reshape(-1)
