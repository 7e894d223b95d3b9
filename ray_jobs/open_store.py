"""How does a store come to be, and what must never change in it?

`open_store` creates the lake, freezes seed, held-out share and tokenizer, and refuses a configuration that contradicts
them. It needs no Ray, so that what is wrong can be said before seconds are spent on importing it.
"""

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from cluster.storage import Store
from data_ops.curate import curate
from data_ops.lake import Lake
from data_ops.sources import open_source
from data_ops.sources.protocol import Source, Span
from data_ops.tokenizer import Tokenizer, byte_tokenizer, load_tokenizer, train_bpe
from data_ops.windows import IngestSettings
from ray_jobs.config import Config, ConfigError

FORMAT = 1
SETTINGS, TOKENIZER = "store.json", "tokenizer.json"
POLL_SECONDS = 0.5  # between two looks for the first text


@dataclass(frozen=True)
class OpenStore:
    """A store whose settings agree with the configuration."""

    store: Store
    lake: Lake
    tokenizer: Tokenizer
    tokenizer_json: str
    settings: IngestSettings


def ingest_settings(config: Config) -> IngestSettings:
    """What decides how the documents of this store are taken in."""
    sources = dict(config.sources)
    return IngestSettings(sources, config.window, config.curate, config.seed, config.held_out, owner=config.name)


def check_store(store: Store, config: Config) -> None:
    """Refuse a configuration that contradicts what the store was made with. Touches nothing."""
    try:
        frozen = json.loads(store.read(SETTINGS))
    except FileNotFoundError:
        return
    if frozen["format"] != FORMAT:
        raise ConfigError(f"store {store.uri} has format {frozen['format']}; this version reads {FORMAT}")
    for key, mine in _frozen(config).items():
        if frozen[key] != mine:
            raise ConfigError(
                f"{key}={_short(mine)} differs from {_short(frozen[key])}, which store {store.uri} was made with; "
                f"set it back, or use another store"
            )
    if config.tokenizer.kind == "file" and store.exists(TOKENIZER):
        given = load_tokenizer(str(config.tokenizer.path)).fingerprint
        kept = Tokenizer.from_json(store.read(TOKENIZER).decode()).fingerprint
        if given != kept:
            raise ConfigError(
                f"tokenizer.path={config.tokenizer.path} has fingerprint {given}, store {store.uri} was made with "
                f"{kept}; give that tokenizer, or use another store"
            )


def open_store(config: Config, stop: Callable[[], bool] = lambda: False, *, follow: bool = False) -> OpenStore:
    """Create the store if need be, train or read its tokenizer, and freeze both.

    Nothing is frozen before the tokenizer is made, so that a configuration that cannot make one can be mended.
    Of two processes that create a store at once the first decides; the other must agree with it or gets ConfigError.
    """
    store = Store.open(config.store)
    check_store(store, config)
    lake = Lake(store)
    lake.create()
    made = None if store.exists(TOKENIZER) else make_tokenizer(config, stop, follow=follow).to_json().encode()
    if not store.publish(SETTINGS, json.dumps({"format": FORMAT, **_frozen(config)}, indent=1).encode()):
        check_store(store, config)
    if made is not None and not store.publish(TOKENIZER, made):
        check_store(store, config)
    tokenizer_json = store.read(TOKENIZER).decode()
    tokenizer = Tokenizer.from_json(tokenizer_json)
    return OpenStore(store, lake, tokenizer, tokenizer_json, ingest_settings(config))


def make_tokenizer(config: Config, stop: Callable[[], bool] = lambda: False, *, follow: bool = False) -> Tokenizer:
    """Make the tokenizer that the config asks for; bpe is trained on the first kept text of the sources.

    ConfigError if there is no such text and none can come, or if `stop` says so while waiting for it.
    """
    if config.tokenizer.kind == "bytes":
        return byte_tokenizer()
    if config.tokenizer.kind == "file":
        return load_tokenizer(str(config.tokenizer.path))
    return train_bpe(_first_texts(config, stop, follow=follow), config.tokenizer.vocabulary)


def _first_texts(config: Config, stop: Callable[[], bool], *, follow: bool) -> Iterator[str]:
    """Kept texts in the order of the log, up to tokenizer.train_bytes; at least one, which is waited for."""
    settings = ingest_settings(config)
    follow = follow or any(getattr(source, "wait", False) for source in settings.sources.values())
    cursors: dict[str, dict[str, Any]] = {label: {} for label in settings.sources}
    left, found = config.tokenizer.train_bytes, False
    while not found:
        unsettled: set[str] = set()
        warnings: list[str] = []
        for text, size in _kept_texts(settings, cursors, unsettled, warnings):
            if left <= 0:
                return
            left, found = left - size, True
            yield text
        if not found and (stop() or not (follow or unsettled)):
            why = "stopped before a text to keep came" if stop() else "the sources hold no text that is kept"
            why += f" ({warnings[0]})" if warnings else ""
            raise ConfigError(
                f"{why}, so tokenizer.kind={config.tokenizer.kind} cannot be trained; add documents, wait for them "
                f"with --follow, or give tokenizer.kind=bytes"
            )
        if not found:
            time.sleep(POLL_SECONDS)


def _kept_texts(
    settings: IngestSettings, cursors: dict[str, dict[str, Any]], unsettled: set[str], warnings: list[str]
) -> Iterator[tuple[str, int]]:
    """Texts and their bytes that are there now behind the cursors, which move on; held-out ones are never shown.

    unsettled: takes in the labels of sources that hold something which cannot be read yet; warnings: what they say.
    """
    open_labels = sorted(settings.sources)
    while open_labels:
        for label in list(open_labels):
            source = open_source(label, settings.sources[label])
            found = source.discover(cursors[label], max(1, settings.window.max_documents // len(open_labels)))
            cursors[label] = found.cursor
            warnings += found.warnings
            if found.drained or not found.spans:
                open_labels.remove(label)
            if not found.drained and not found.spans:
                unsettled.add(label)
            for span in found.spans:
                for table in curated(source, label, span, settings):
                    kept = table.filter(pa.compute.equal(table["fate"], "kept"))
                    yield from zip(kept["text"].to_pylist(), kept["num_bytes"].to_pylist(), strict=True)


def _frozen(config: Config) -> dict[str, Any]:
    tokenizer = config.tokenizer.model_dump(mode="json", exclude={"path"})
    return {"seed": config.seed, "held_out": config.held_out, "tokenizer": tokenizer}


def _short(value: Any) -> str:
    return json.dumps(value) if isinstance(value, dict) else str(value)


def curated(source: Source, label: str, span: Span, settings: IngestSettings) -> Iterator[pa.Table]:
    """Read and curate one span here, as a task of the pipeline does."""
    for records in source.read(span):
        yield curate(
            records,
            settings.curate,
            source=label,
            partition=span.partition,
            weight=1.0,
            modified_s=span.modified_s,
            arrived_s=span.modified_s,
            seed=settings.seed,
            held_out_share=settings.held_out,
        )
