"""How do the conversations of a batch become tokens, and what becomes of those that cannot?"""

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from data_ops.conversations.answers import ConversationTokens
from data_ops.conversations.messages import UnfitError
from data_ops.conversations.transcript import marks_of
from data_ops.documents.document import DOCUMENT_SCHEMA, sample_of
from data_ops.documents.fates import living, quarantine

TOKENS = DOCUMENT_SCHEMA.field("tokens").type


def with_conversation_tokens(
    table: pa.Table, before: pa.Array, speech: ConversationTokens, most: int | None
) -> pa.Table:
    """Append `tokens` to curated transcripts (CURATED_SCHEMA), null where a row does not live.

    before: the transcripts as they were read, before any rule. What is unfit is quarantined with its reason. From here
    on `num_bytes` is of the answers alone, which is what bits per byte are over. most: tokens of a conversation.
    """
    num_rows = table.num_rows
    tokens: list[npt.NDArray[np.int32] | None] = [None] * num_rows
    sizes: list[int] = table["num_bytes"].to_pylist()
    reasons: list[str | None] = [None] * num_rows
    samples: list[str | None] = [None] * num_rows
    texts, dates = table["text"].to_pylist(), table["event_time"].cast(pa.int64()).to_pylist()
    for row in living(table).nonzero()[0].tolist():
        try:
            if (left := marks_of(texts[row])) != (were := marks_of(before[row].as_py())):
                raise UnfitError(f"a rule of curation has left {left} of the messages {were}", "turns_changed")
            stored = speech.encode(texts[row], dates[row] * 1e-6, most)
            tokens[row], sizes[row] = stored.ids, stored.num_bytes
        except UnfitError as error:
            reasons[row], samples[row] = error.reason, sample_of(f"{error}: {texts[row]}")
    column = table.schema.get_field_index("num_bytes")
    table = table.set_column(column, table.schema.field(column), pa.array(sizes, pa.int64()))
    table = table.append_column("tokens", pa.array(tokens, TOKENS))
    return quarantine(table, pa.array(reasons, pa.string()), pa.array(samples, pa.string()))
