"""How is a text brought into its one spelling, while a reader of a configuration need not load the compiler?"""

import pyarrow as pa


def normalised(texts: pa.Array) -> pa.Array:
    """Return texts in their one spelling (kernels/normalise.py); idempotent."""
    from data_ops.kernels.normalise import normalise  # numba, 0.5 s

    return normalise(texts)
