"""What does a training step see? Packed rows."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray


class Rows(NamedTuple):
    """One rank's rows, int32 [R, L]: label -100 predicts nothing; segments number documents, -1 pads."""

    inputs: NDArray[np.int32]
    labels: NDArray[np.int32]
    segments: NDArray[np.int32]
