"""What keeps many small losses of old text from adding up?

A *drift reference*: figures of old documents that only move when they are shown to be beaten. A document enters with
the figures of the champion under which it became old. With each promotion a new file is written, once, beside the
ask that promoted: `registry/reference/<X>/<k>.arrow`; the champion pointer names it.
"""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from cluster.storage.store import Store
from data_ops.documents.frontier import Frontier
from ray_jobs.checkpoints.champion import DriftReference
from ray_jobs.evaluation.bounds import highest, level_of, within_day
from ray_jobs.evaluation.gate import pools_of
from ray_jobs.evaluation.pairs import pair
from ray_jobs.evaluation.tasks.held_out_bits import bits_of
from ray_jobs.registry.asks import Ask, asks

COLUMNS = ["id", "slice", "num_bytes", "nats"]


def read_figures(store: Store, path: str | None) -> pa.Table | None:
    """Read the figures of a drift reference; None where there is none."""
    if path is None:
        return None
    return pa.ipc.open_file(pa.py_buffer(store.read(path))).read_all()


def renew(
    store: Store,
    ask: Ask,
    now: DriftReference | None,
    tables: tuple[pa.Table | None, pa.Table],
    text: pa.Table,
    given: Frontier,
) -> DriftReference:
    """Write the drift reference that a promoted candidate goes on with.

    tables: the champion's figures (None: the untrained model's do not count) and the candidate's; given: up to where
    the candidate was given documents, so that those before it are old from now on.
    """
    before, after = tables
    figures, moved = _entered(read_figures(store, now.figures if now else None), before, after, text, given), set[str]()
    promotions, alpha = dict(now.promotions) if now else {}, ask.rules.alpha
    old = pair(bits_of(after), bits_of(figures), text)
    known = within_day(old.sample)
    for members in pools_of(old.sources).values():
        sample = old.of(np.isin(old.sources, members)).sample
        level = level_of(1 + max(promotions.get(name, 0) for name in members), alpha)
        if highest(sample, level, known) < 0:
            moved |= set(members)
    sources = pc.split_pattern(figures["slice"], "/", max_splits=1)
    names = [parts[0] for parts in sources.to_pylist()]
    figures = _with(figures, after, [name in moved for name in names])
    path = f"registry/reference/{ask.against}/{ask.ask}.arrow"
    sink = pa.BufferOutputStream()
    with pa.ipc.new_file(sink, figures.schema) as writer:
        writer.write_table(figures)
    store.publish(path, sink.getvalue().to_pybytes())
    named = sum(
        one.reference is not None and one.reference == (now and now.figures) for one in asks(store, ask.against)
    )
    spent = {name: (now.asks.get(name, 0) if now else 0) + named for name in set(names)}
    return DriftReference(
        path,
        {name: 0 if name in moved else spent[name] for name in sorted(spent)},
        {name: 0 if name in moved else promotions.get(name, 0) + 1 for name in sorted(spent)},
    )


def _entered(
    kept: pa.Table | None, before: pa.Table | None, after: pa.Table, text: pa.Table, given: Frontier
) -> pa.Table:
    """Let documents enter: old ones with the champion's figures, those that become old with the candidate's."""
    waits = given.waiting(text["source"], text["window"].to_numpy(), text["position"].to_numpy())
    old = ~np.asarray(text["fresh"].to_pylist(), bool)
    becomes = ~old & ~waits
    parts = [] if kept is None else [kept]
    for table, mask in ((before, old), (after, becomes)):
        if table is not None:
            table = table.select(COLUMNS)
            parts.append(table.filter(pc.is_in(table["id"], text["id"].filter(pa.array(mask)).combine_chunks())))
            parts[-1] = parts[-1].cast(parts[0].schema)
    whole = pa.concat_tables(parts).combine_chunks()
    _, first = np.unique(np.array(whole["id"].to_pylist(), dtype=object), return_index=True)
    return whole.take(pa.array(first))


def _with(figures: pa.Table, after: pa.Table, moves: list[bool]) -> pa.Table:
    """Put the candidate's figures in place of those that moved."""
    new = dict(zip(after["id"].to_pylist(), after["nats"].to_pylist(), strict=True))
    rows = zip(figures["id"].to_pylist(), figures["nats"].to_pylist(), moves, strict=True)
    nats = [new.get(document, kept) if moves_on else kept for document, kept, moves_on in rows]
    return figures.set_column(figures.schema.get_field_index("nats"), "nats", pa.array(nats, pa.float64()))
