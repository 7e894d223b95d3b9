"""In which form does a program want rows of a store?

As Arrow, pandas, Polars or a Hugging Face data set. The rows are read when they are asked for, a stretch of windows at
a time; pandas, Polars and datasets are imported only by the method that gives them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import pyarrow as pa

if TYPE_CHECKING:
    import datasets
    import pandas
    import polars


class StoreTable:
    """Rows that were not read yet; every method reads them anew, so that what was forgotten meanwhile is left out."""

    def __init__(self, schema: pa.Schema, read: Callable[[], Iterator[pa.Table]]) -> None:
        self.schema, self._read = schema, read

    def __repr__(self) -> str:
        return f"StoreTable({', '.join(self.schema.names)})"

    def batches(self) -> Iterator[pa.RecordBatch]:
        """Read the rows piece by piece, in order; memory holds one piece."""
        for table in self._read():
            yield from table.to_batches()

    def arrow(self) -> pa.Table:
        """Read all rows as an Arrow table."""
        return pa.concat_tables([self.schema.empty_table(), *self._read()])

    def pandas(self) -> pandas.DataFrame:
        """Read all rows as a pandas DataFrame."""
        return self.arrow().to_pandas()

    def polars(self) -> polars.DataFrame:
        """Read all rows as a Polars DataFrame; ImportError without polars."""
        import polars

        frame = polars.from_arrow(self.arrow())
        assert isinstance(frame, polars.DataFrame)
        return frame

    def dataset(self) -> datasets.Dataset:
        """Read all rows as a Hugging Face `datasets.Dataset`; ImportError without datasets."""
        import datasets

        return datasets.Dataset(self.arrow())

    def __iter__(self) -> Iterator[dict[str, object]]:
        """Read the rows one by one, as dictionaries."""
        for batch in self.batches():
            yield from batch.to_pylist()
