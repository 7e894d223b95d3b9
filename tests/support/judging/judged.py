"""How does a test come by the figures of two models on the same held-out documents?"""

import math
from collections.abc import Collection, Mapping, Sequence

import numpy as np
import pyarrow as pa

SLICES = ("wire/2026-01", "wire/2026-02", "help/2026-02", "wire/2026-03")
FRESH = frozenset({"wire/2026-03"})


def held_out(
    seed: int,
    documents: int = 60,
    slices: Sequence[str] = SLICES,
    noise: float = 0.15,
    change: Mapping[str, float] | None = None,
) -> tuple[pa.Table, pa.Table]:
    """Two models on the same documents: the first differs by `change[slice]` bits per byte, with t4 noise."""
    rng = np.random.default_rng(seed)
    names = np.repeat(slices, documents)
    num_bytes = rng.lognormal(7, 0.8, len(names)).astype(int) + 20
    rate = 1.8 + 0.2 * rng.standard_normal(len(names))
    shift = np.array([(change or {}).get(name, 0.0) for name in names.tolist()])
    after = rate + shift + noise * rng.standard_t(4, len(names))
    ids = [rng.bytes(16) for _ in names]
    return table(ids, names.tolist(), num_bytes, after), table(ids, names.tolist(), num_bytes, rate)


def table(ids: Sequence[bytes], names: Sequence[str], num_bytes: object, bits_per_byte: object) -> pa.Table:
    """Figures as an evaluation keeps them."""
    return pa.table(
        {
            "id": pa.array(ids, pa.binary(16)),
            "slice": pa.array([str(name) for name in names]),
            "num_bytes": pa.array(np.asarray(num_bytes)),
            "nats": pa.array(np.asarray(bits_per_byte) * np.asarray(num_bytes) * math.log(2)),
        }
    )


def text_of(figures: pa.Table, fresh: Collection[str]) -> pa.Table:
    """What is judged, where each document has a day of its own: whole slices are fresh."""
    names = figures["slice"].to_pylist()
    days = [str(number) for number in range(len(names))]
    return pa.table(
        {"id": figures["id"], "day": days, "fresh": pa.array([name in fresh for name in names], pa.bool_())}
    )
