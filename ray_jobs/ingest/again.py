"""How is a span of a committed window read again, to compare it or to look at it?"""

from collections.abc import Iterator, Mapping

import pyarrow as pa

from data_ops.sources.kinds import open_source
from data_ops.sources.protocol import SourceConfig, Span
from data_ops.sources.quarantine import read_span


def read_again(sources: Mapping[str, SourceConfig], label: str, span: Span) -> Iterator[pa.RecordBatch]:
    """Read exactly the places of a span; what has gone since it was read has an error, and is no reason to stop."""
    config = sources[label]
    may_be_gone = {"on_loss": "continue"} if "on_loss" in type(config).model_fields else {}
    return read_span(open_source(label, config.model_copy(update=may_be_gone)), span)
