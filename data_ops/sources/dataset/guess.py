"""Is a folder a saved dataset, and how would it be configured?

Its columns are told by name and type; no text is read. Of several splits the one for training is proposed.
"""

from collections.abc import Sequence
from typing import NamedTuple

import pyarrow as pa

from cluster.readable import many, size
from cluster.storage.store import Store
from data_ops.sources.dataset.config import DatasetConfig
from data_ops.sources.dataset.folder import STATE, layout, saved_dataset, schema_of, splits_of
from data_ops.sources.files.formats.columns import is_text


class DatasetGuess(NamedTuple):
    """A dataset that can be read: its configuration, what is in it in words, and the bytes of its files."""

    config: DatasetConfig
    told: str
    num_bytes: int


def guess_dataset(path: str, texts: Sequence[str], times: Sequence[str], ids: Sequence[str]) -> DatasetGuess | None:
    """Look at a folder; None where it is no saved dataset. The others: what columns are called, likely names first.

    OSError, in a sentence, where it cannot be read or no column holds texts; ValueError where a file is no Arrow.
    """
    store = Store.open(path)
    splits = splits_of(store)
    if splits is None and not store.exists(STATE):
        return None
    split = None if not splits else ("train" if "train" in splits else splits[0])
    saved = saved_dataset(DatasetConfig(path=path, split=split))
    if saved is None or not saved.files:
        raise OSError(f"{path} is a dataset without rows; save one with rows")
    layouts = [layout(saved.folder, file, saved.fingerprint) for file in saved.files]
    schema: pa.Schema = schema_of(saved.folder, saved.files[0], layouts[0])
    text = next((name for name in texts if name in schema.names and is_text(schema.field(name).type)), None)
    if text is None:
        raise OSError(
            f"{path} is a dataset without a column of text that is called {', '.join(texts)}; write a configuration by "
            "hand (docs/tables.md) and name the column"
        )
    time, name = (next((each for each in names if each in schema.names), None) for names in (times, ids))
    num_bytes = sum(each.batches[-1].end for each in layouts if each.batches)
    told = f"a saved dataset: {many(sum(each.num_rows for each in layouts), 'row')}, {size(num_bytes)}"
    if splits and len(splits) > 1:
        told += f"; of the splits {', '.join(splits)} only {split} is read"
    return DatasetGuess(DatasetConfig(path=path, split=split, text=text, time=time, id=name), told, num_bytes)
