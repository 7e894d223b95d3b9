"""How does a document get from its source into the lake? READ FIRST: the whole way, one window at a time.

    discover -> plan (written down) -> read -> curate -> known already? -> tokenise -> lake (exactly once)

A window is one bounded Ray Data execution over spans that were recorded before: a killed window is simply run
again and gives the same rows. Bounded executions cost about 0.1 s each; in return a window's number is enough to
make its commit exactly-once, and Ray Data needs no state of its own. The only Ray file of data_ops.
"""

import logging
import socket
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from functools import lru_cache
from types import ModuleType

import msgspec
import numpy as np
import numpy.typing as npt
import orjson
import pyarrow as pa
import pyarrow.compute as pc

from cluster.runtime.actors import SERVICE, Handle, start_actor
from data_ops.conversations.answers import ConversationTokens
from data_ops.conversations.template import ChatTemplate
from data_ops.curation.curate import Provenance, curate
from data_ops.documents.document import CURATED_SCHEMA, DOCUMENT_SCHEMA
from data_ops.documents.fates import count, drop_living, living
from data_ops.documents.tokenizer import Tokenizer, closed
from data_ops.ingest.config import IngestSettings
from data_ops.ingest.context import IngestContext
from data_ops.ingest.conversations import with_conversation_tokens
from data_ops.ingest.events import Warned, WindowDone
from data_ops.ingest.health import SourceHealth
from data_ops.ingest.open_sources import OpenSources
from data_ops.ingest.seen import Histories, drop_repeats, sketches_of
from data_ops.ingest.takeover import POLL_SECONDS, take_over
from data_ops.kernels.arrays import in_order
from data_ops.lake.window import Window
from data_ops.sources.kinds import open_source
from data_ops.sources.protocol import Cursor, Discovery, Source, Span
from data_ops.sources.quarantine import confirm, read_span

logger = logging.getLogger(__name__)
WRITE_SECONDS = 30.0  # between two notes of what the sources did not give, while nothing else happens
READ_FIELDS = [pa.field("span", pa.int64()), pa.field("node", pa.string())]  # which piece of the window, and where
Seen = Handle[Histories]
TASK_SCHEMA = pa.schema([*CURATED_SCHEMA, DOCUMENT_SCHEMA.field("tokens"), *READ_FIELDS])


def ingest(context: IngestContext, tokenizer_json: str) -> int:
    """Take in windows until the sources are drained (or for ever, with follow); return the last window's number.

    OpenPlanError for an open window of sources that are not ours, whose owner is not at work.
    """
    data = _ray_data()
    logging.getLogger("ray.data").setLevel(logging.ERROR)  # it sets itself to INFO on import
    options = data.DataContext.get_current()
    options.enable_progress_bars = False
    options.execution_options.preserve_order = True
    lake, settings = context.lake, context.settings
    seen = start_actor(Histories, SERVICE, lake, settings.curate.remembered)
    timed = frozenset(k for k, config in settings.sources.items() if getattr(config, "time", "given") is not None)
    health = SourceHealth(timed)
    while not context.stop():
        window = next_window(context)
        if window is None:
            break
        started = time.perf_counter()
        documents = run_window(window, settings, tokenizer_json, seen)
        for note in seen.call(Histories.notes).get():
            context.warn(note)
        done = replace(window, counts=count(documents), seconds=time.perf_counter() - started)
        context.progress.take(done)
        committed = lake.commit_window(done, documents)
        _acknowledge(done, context.sources, context.progress.cursors)
        if committed:
            told = {"event": "window", "window": done.window, "seconds": done.seconds, **(done.counts or {})}
            context.report(msgspec.convert({**told, "behind": context.sources.behind}, WindowDone))
            for text in health.take(documents):
                context.report(Warned(text=text))
    for text in health.sum():
        context.report(Warned(text=text))
    return lake.last_window()


def _acknowledge(window: Window, sources: OpenSources, cursors: dict[str, Cursor]) -> None:
    """Tell the sources of a committed window how far they are durable; what fails there is only a hint that is late."""
    for label in sorted(label for label, spans in window.spans.items() if spans and label in sources.opened):
        try:
            sources.opened[label].acknowledge(cursors[label])
        except OSError as error:
            logger.warning("source %s could not be told what is durable; it is told again later (%s)", label, error)


def next_window(context: IngestContext) -> Window | None:
    """Return the window that is planned but not committed, or plan the next one; None when drained or stopped.

    Under follow a window waits for more until it is full or its first record has waited `max_seconds`. Whoever
    loses the race for a window takes up the winner's plan or, if that is committed already, goes on behind it.
    """
    settings, progress, sources = context.settings, context.progress, context.sources
    if progress.next_window < 0 and (planned := take_over(context)):
        return planned
    opened: float | None = None
    written = time.monotonic()
    while not context.stop():
        plan, warnings, drained, full = _discover(progress.next_window, settings, progress.cursors, sources)
        for warning in warnings:
            context.warn(warning)
        if plan.num_records and opened is None:
            opened = time.monotonic()
        waited = opened is not None and time.monotonic() - opened >= settings.window.max_seconds
        ready = plan.num_records and (full or waited or not context.follow)
        if ready or (drained and not context.follow) or time.monotonic() - written >= WRITE_SECONDS:
            sources.write()
            written = time.monotonic()
        if ready:
            if planned := plan if context.lake.plan_window(plan) else take_over(context):
                return planned
            opened = None
        elif drained and not context.follow:
            return None
        else:
            time.sleep(min(POLL_SECONDS, settings.window.max_seconds / 4))
    return None


def _discover(
    number: int, settings: IngestSettings, cursors: dict[str, Cursor], opened: OpenSources
) -> tuple[Window, list[str], bool, bool]:
    """Ask each source for its part of the window and what earlier ones left over: window, warnings, drained?, full?"""
    room, room_bytes = settings.window.max_documents, settings.window.max_bytes
    spans: dict[str, list[Span]] = {}
    changed: dict[str, Cursor] = {}
    warnings: list[str] = []
    drained, full = True, False
    for left, label in zip(range(len(settings.sources), 0, -1), sorted(settings.sources), strict=True):
        old = cursors.get(label, {})
        source = opened.opened[label]
        found, cut = _fitting(source, old, max(1, room // left), room_bytes // left)
        spans[label] = found.spans
        changed[label] = {k: v for k, v in found.cursor.items() if old.get(k) != v}
        warnings += found.warnings
        opened.note(label, found)
        drained &= found.drained
        room -= sum(span.num_records for span in found.spans)
        room_bytes -= sum(map(source.size_of, found.spans))
        full |= cut or room <= 0
    configured = {
        label: config.model_dump(mode="json") for label, config in sorted(settings.sources.items()) if spans[label]
    }
    plan = Window(number, spans, changed, datetime.now(UTC), owner=settings.owner, sources=configured)
    return plan, warnings, drained, full


def _fitting(source: Source, cursor: Cursor, num_records: int, num_bytes: int) -> tuple[Discovery, bool]:
    """Discover at most so many records and bytes, but one record if there is any; and say if bytes cut it short."""
    found, cut = source.discover(cursor, num_records), False
    while sum(map(source.size_of, found.spans)) > num_bytes:
        cut, num_records = True, sum(s.num_records for s in found.spans) // 2
        if num_records == 0:
            break
        found = source.discover(cursor, num_records)
    return found, cut


def run_window(window: Window, settings: IngestSettings, tokenizer_json: str, seen: Seen) -> pa.Table:
    """Read, curate, deduplicate and tokenise one window: DOCUMENT_SCHEMA rows in (source, span, offset) order."""
    pieces = [(label, span) for label in sorted(window.spans) for span in window.spans[label]]
    items = [
        {"piece": n, "source": label, "span": orjson.dumps(span).decode()} for n, (label, span) in enumerate(pieces)
    ]
    work = (
        _ray_data()
        .from_items(items, override_num_blocks=max(1, min(len(items), 64)))
        .map_batches(
            _read_spans,
            batch_format="pyarrow",
            batch_size=None,
            fn_kwargs={
                "settings": settings,
                "tokenizer_json": tokenizer_json,
                "seen": seen,
                "window": window.window,
                "arrived_s": window.arrived.timestamp(),
            },
        )
    )
    blocks = [b for b in work.iter_batches(batch_size=None, batch_format="pyarrow") if b.num_rows]
    table = pa.concat_tables([TASK_SCHEMA.empty_table(), *(b.cast(TASK_SCHEMA) for b in blocks)])
    confirm(table, pieces, settings.sources)
    table = in_order(table, "span", "offset").drop_columns(["span", "node"])
    if table.num_rows != window.num_records:
        raise ValueError(
            f"window {window.window} read {table.num_rows} records where {window.num_records} were planned: "
            "a source changed under us; run again"
        )
    return _place(drop_repeats(table, settings.curate.remembered), window.window)


def _ray_data() -> ModuleType:
    import ray.data  # 1.5 s: only where windows are run

    return ray.data


def _read_spans(
    batch: pa.Table,
    settings: IngestSettings,
    tokenizer_json: str,
    seen: Seen,
    window: int,
    arrived_s: float,
) -> Iterator[pa.Table]:
    """Turn a block of spans into curated, tokenised rows (TASK_SCHEMA): the body of a Ray Data task."""
    tokenizer = _tokenizer(tokenizer_json)
    for row in batch.to_pylist():
        span = Span(**orjson.loads(row["span"]))
        config = settings.sources.get(row["source"])
        for batch_of_records in read_span(open_source(row["source"], config) if config else None, span):
            table = curate(
                batch_of_records,
                settings.curate,
                Provenance(row["source"], span.partition, config.weight if config else 1.0, span.modified_s, arrived_s),
                seed=settings.seed,
                held_out_share=settings.held_out,
            )
            documents = table.filter(pa.array(living(table)))
            sketches = sketches_of(documents, settings.curate.remembered)
            reasons = seen.call(Histories.look, window, documents["id"].combine_chunks(), sketches).get()
            table = drop_living(table, reasons)
            if config and config.conversations:
                before = batch_of_records.column("text")
                speech = _speech(tokenizer_json, settings.chat)
                table = with_conversation_tokens(table, before, speech, getattr(config, "max_tokens", None))
            else:
                end = tokenizer.frame[1] if settings.closes else None
                table = table.append_column("tokens", _tokens(table, living(table), tokenizer, end))
            table = table.append_column("span", pa.array([row["piece"]] * table.num_rows, pa.int64()))
            yield table.append_column("node", pa.array([socket.gethostname()] * table.num_rows, pa.string()))


def _place(table: pa.Table, window: int) -> pa.Table:
    table = table.append_column("window", pa.array(np.full(table.num_rows, window, np.int64)))
    table = table.append_column("position", pa.array(np.arange(table.num_rows, dtype=np.int64)))
    lengths = pc.fill_null(pc.list_value_length(table["tokens"]), 0)
    table = table.append_column("num_tokens", lengths.cast(pa.int64()))
    return table.select(DOCUMENT_SCHEMA.names).cast(DOCUMENT_SCHEMA)


def _tokens(table: pa.Table, alive: npt.NDArray[np.bool_], tokenizer: Tokenizer, end: int | None = None) -> pa.Array:
    """Tokenise the rows that live, null for the others. end: what each ends with, which is read and not learnt."""
    encoded = tokenizer.encode(table["text"].filter(pa.array(alive)))
    if end is not None:
        encoded = closed(encoded, ~end)
    where = np.cumsum(alive) - 1
    return encoded.take(pa.array(where, mask=~alive)).cast(DOCUMENT_SCHEMA.field("tokens").type)


@lru_cache(maxsize=4)
def _speech(tokenizer_json: str, template: ChatTemplate | None) -> ConversationTokens:
    if template is None:
        raise ValueError("conversations are read, and the store has no chat template; run again, which writes one down")
    return ConversationTokens(template, _tokenizer(tokenizer_json))


@lru_cache(maxsize=4)
def _tokenizer(tokenizer_json: str) -> Tokenizer:
    return Tokenizer.from_json(tokenizer_json)
