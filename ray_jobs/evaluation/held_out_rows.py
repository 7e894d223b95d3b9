"""How do held-out documents become rows that a model is asked with?

Whatever of them is hidden from an encoder is chosen by their ids alone, so that every model is asked the same.
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from cluster.rows import Rows
from data_ops.kernels.arrays import Words, ids_to_array
from data_ops.rounds.masking import EVALUATION, RowObjective, count_masked, mask_keys, mask_rows
from data_ops.rounds.packing import Packing, as_text, fill, pack


class Laid(NamedTuple):
    """Documents as they are packed: what is told of them, Arrow's list layout of their tokens, what decides masks."""

    table: pa.Table
    packing: Packing
    tokens: npt.NDArray[np.int32]
    offsets: npt.NDArray[np.int64]
    keys: Words | None = None


def lay_out(table: pa.Table, row_tokens: int, objective: RowObjective) -> Laid:
    """Pack documents (id, slice, num_bytes, tokens). Where tokens are hidden, `num_bytes` becomes their share of it."""
    tokens = table["tokens"].combine_chunks() if table.num_rows else pa.array([], pa.list_(pa.int32()))
    lengths = np.asarray(tokens.value_lengths().to_numpy(), np.int64)
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    told, flat = table.select(["id", "slice", "num_bytes"]), tokens.flatten().to_numpy()
    packing = pack(lengths + 1, row_tokens)
    if objective.masking is None:
        return Laid(told, packing, flat, offsets)
    keys = mask_keys(objective.masking, ids_to_array(told["id"].combine_chunks()), EVALUATION)
    counts = count_masked(packing, as_text(flat, offsets), keys, objective.masking)
    sizes = _share(told["num_bytes"].to_numpy(), counts, lengths)
    place = told.schema.get_field_index("num_bytes")
    told = told.set_column(place, "num_bytes", pa.array(sizes))
    return Laid(told, packing, flat, offsets, keys)


def _share(
    num_bytes: npt.NDArray[np.int64], hidden: npt.NDArray[np.int64], lengths: npt.NDArray[np.int64]
) -> npt.NDArray[np.int64]:
    """Bytes of what is hidden, as its share of the tokens; 1 at least, because the gate takes no item without size."""
    shares = hidden / np.maximum(lengths, 1)
    return np.maximum(np.rint(num_bytes * shares), 1).astype(np.int64)


def fill_rows(pieces: Packing, laid: Laid, row_tokens: int, objective: RowObjective) -> Rows:
    """Write the rows of some pieces of these documents as the model sees them."""
    text, keys = as_text(laid.tokens, laid.offsets), laid.keys
    filled = fill(pieces, text.tokens, text.offsets, objective.document_token, row_tokens)
    if objective.masking is None or keys is None:
        return filled
    return mask_rows(filled, pieces, text, keys, objective.masking)
