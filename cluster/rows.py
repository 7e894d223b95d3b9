"""In which form does text reach the tensors? Packed rows.

They are made by `data_ops` and computed on by `models`, which never import each other; so their type stands below both.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray


class Rows(NamedTuple):
    """Rows of positions, int32 [R, L] each.

    inputs: tokens; a document starts with the document token, and so does padding.
    labels: the token each position has to predict; -100 predicts nothing.
    segments number the documents of a row 0, 1, ...; attention and positions restart where the number changes; -1 pads.
    """

    inputs: NDArray[np.int32]
    labels: NDArray[np.int32]
    segments: NDArray[np.int32]
