"""Is a file still the one that a span was planned in, and what of files that are gone was never read?

One name may stand for one file after another: logs are rotated, exports replaced, files truncated and filled anew. A
span tells its file by a fingerprint of the first bytes; where another stands under the name, the old one is looked for
beside it, where rotation puts it. The price is a look at 68 KB a span; an object in a bucket is told by its time.
"""

from collections.abc import Callable, Iterator

import msgspec
import pyarrow.fs as pafs

from data_ops.sources.files.entry import Entry, is_file
from data_ops.sources.files.formats.streams import stands_in
from data_ops.sources.files.listing import is_local, open_partition
from data_ops.sources.files.walk import renamed
from data_ops.sources.protocol import ChangedError, Cursor, Span, Untaken


def where_it_is(span: Span) -> str:
    """Return the partition that holds the bytes a span was planned in. ChangedError if they are nowhere."""
    if not span.mark:
        return span.partition  # planned by an older version
    if not is_local(span.partition):
        filesystem, path = open_partition(span.partition)
        info = filesystem.get_file_info(path)
        if info.type is pafs.FileType.File and (info.mtime_ns or 0) / 1e9 == span.modified_s:
            return span.partition
    closed: OSError | None = None
    try:
        if _holds(span.partition, span):
            return span.partition
    except PermissionError as error:
        closed = error  # of the file that has the name now; the one that is looked for may be another
    moved = renamed(span.partition, lambda other: _holds(other, span))
    if moved is None:
        raise closed or ChangedError(
            f"{span.partition!r} is another file than the one that was listed, which is not beside it under another "
            "name; keep rotated files until they are read"
        )
    return moved.partition


def _holds(partition: str, span: Span) -> bool:
    try:
        return stands_in(partition, span.marked, span.mark)
    except FileNotFoundError:
        return False


def left_behind(cursor: Cursor, there: set[str], may_be_gone: Callable[[str], bool]) -> Iterator[Untaken]:
    """Tell what the cursor knows to be passed over or gone before it was read."""
    for partition, values in cursor.items():
        if not is_file(partition):
            continue
        entry = msgspec.convert(values, Entry)
        if entry.skipped:
            yield Untaken(partition, "skipped", "behind_an_object", entry.skipped)
        if entry.abandoned:
            yield Untaken(partition, "abandoned", "replaced", entry.abandoned)
        if entry.state in ("cut", "waits", "stalled") and partition not in there and may_be_gone(partition):
            yield Untaken(partition, "abandoned", "removed", max(entry.size - entry.end, 0))
