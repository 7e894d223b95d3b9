"""Which columns have the tables of the lake, and how are they kept?"""

import pyarrow as pa

from data_ops.documents.document import DOCUMENT_SCHEMA, TIME
from data_ops.lake.window import WINDOW_SCHEMA

DOCUMENT_LIST = pa.list_(
    pa.struct([("id", pa.binary()), ("window", pa.int64()), ("position", pa.int64()), ("num_tokens", pa.int64())])
)
ROUND_SCHEMA = pa.schema(
    [
        pa.field("run", pa.string(), nullable=False),
        pa.field("round", pa.int64(), nullable=False),
        pa.field("plan", pa.string(), nullable=False),  # JSON: places, sizes, seed, why it closed
        pa.field("fresh", DOCUMENT_LIST),
        pa.field("replay", DOCUMENT_LIST),
        pa.field("shed", DOCUMENT_LIST),
    ]
)
LEDGER_SCHEMA = pa.schema(
    [
        pa.field("run", pa.string(), nullable=False),
        pa.field("sequence", pa.int64(), nullable=False),  # 0.. within the run
        pa.field("step", pa.int64(), nullable=False),
        pa.field("round", pa.int64(), nullable=False),
        pa.field("step_in_round", pa.int64(), nullable=False),  # steps of that round that are in the weights
        pa.field("checkpoint", pa.string(), nullable=False),
        pa.field("committed", TIME, nullable=False),
        pa.field("state", pa.string(), nullable=False),  # JSON: the manifest's state and files
    ]
)
FORGOTTEN_SCHEMA = pa.schema(
    [
        pa.field("id", pa.binary(), nullable=False),
        pa.field("forgotten", TIME, nullable=False),  # when `headrace forget` was told so
    ]
)
#: Delta knows no fixed-size binary: ids are plain binary there.
STORED_DOCUMENT_SCHEMA = pa.schema(
    [f.with_type(pa.binary()) if pa.types.is_fixed_size_binary(f.type) else f for f in DOCUMENT_SCHEMA]
)
SCHEMAS = {
    "documents": STORED_DOCUMENT_SCHEMA,
    "windows": WINDOW_SCHEMA,
    "rounds": ROUND_SCHEMA,
    "ledger": LEDGER_SCHEMA,
    "forgotten": FORGOTTEN_SCHEMA,
}
#: Every table's log is summed up every 50 commits, and entries before that go after an hour: a reader lists them all at
#: every look (9 ms at 1,000, 65 ms at 10,000). Files that were replaced stay a day for readers of older versions.
UPKEEP = {
    "delta.checkpointInterval": "50",
    "delta.logRetentionDuration": "interval 1 hours",
    "delta.deletedFileRetentionDuration": "interval 1 days",
}
#: Whose smallest and largest value a file's entry in the log tells; never a text, which would outlive its document.
PRUNED_BY = {"documents": {"delta.dataSkippingStatsColumns": "window,position,offset"}}


def properties(name: str) -> dict[str, str]:
    """The properties a table of this version has."""
    return {**UPKEEP, **PRUNED_BY.get(name, {})}
