"""What time is it for the store, and how long ago was one of its files written?

Clocks of machines differ, some by days; the times that one store gives its files are comparable. So the age of a file
is measured against another that is written for this and deleted again: a write of no bytes, two fsyncs locally or a
request or two to a bucket.
"""

import uuid

import pyarrow.fs as pafs

from cluster.storage.store import Store


def store_time(store: Store, folder: str) -> float:
    """Return the time of the store, seconds since 1970, by a file in one of its folders; OSError if it takes none."""
    probe = f"{folder}/.clock.{uuid.uuid4().hex}.aside"  # a name that no listing shows, and that is swept up
    store.write(probe, b"")
    try:
        return _written(store, probe) or 0.0
    finally:
        store.delete(probe)


def written_s_ago(store: Store, path: str) -> float | None:
    """Return how many seconds ago a file was written, None if it is not there; OSError if the store takes no file.

    Negative where the clock of the store was set back since.
    """
    written = _written(store, path)
    if written is None:
        return None
    return store_time(store, path.rpartition("/")[0]) - written


def _written(store: Store, path: str) -> float | None:
    found = store.filesystem.get_file_info(f"{store.root.rstrip('/')}/{path}")
    return None if found.type == pafs.FileType.NotFound else (found.mtime_ns or 0) / 1e9
