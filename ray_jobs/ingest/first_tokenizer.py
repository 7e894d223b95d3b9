"""How does a new store come by its tokenizer? From the first documents that are kept."""

import time
from collections.abc import Callable, Iterator

import pyarrow as pa

from cluster.storage.store import Store
from data_ops.curation.curate import Provenance, curate
from data_ops.documents.tokenizer import Tokenizer, byte_tokenizer, load_tokenizer, train_bpe
from data_ops.ingest.config import IngestSettings
from data_ops.sources.kinds import open_source
from data_ops.sources.protocol import Cursor, Source, Span
from models.config import Objective
from ray_jobs.config.schema import Config
from ray_jobs.ingest.settings import ingest_settings
from ray_jobs.origin.place import place_of
from ray_jobs.outcome import ConfigError
from ray_jobs.store.frozen import read_frozen

MEASURED_BYTES = 256 << 10  # of text, to see what a given tokenizer loses of it
MOST_LOST = 0.001
POLL_SECONDS = 0.5  # between two looks for the first text


def make_tokenizer(config: Config, stop: Callable[[], bool] = lambda: False, *, follow: bool = False) -> Tokenizer:
    """Make the tokenizer that the config asks for; bpe is trained on the first kept text of the sources.

    For an encoder it gets a mask token, where it has none; one that comes with weights must have it.
    ConfigError if there is no such text and none can come, or if `stop` says so while waiting for it.
    """
    masks = config.model.learns == Objective.MASKED
    if config.tokenizer.kind == "bytes":
        return byte_tokenizer().with_mask() if masks else byte_tokenizer()
    if config.tokenizer.kind in ("file", "model"):
        if (given := given_tokenizer(config)) is None:
            raise ConfigError("tokenizer.kind=model is the tokenizer of model.from, which is absent; set it")
        if masks and given.mask_token is None:
            raise ConfigError(
                f"the tokenizer of {config.model.start} has no mask token ([MASK], <mask>), and model.kind="
                f"{config.model.kind} learns what is hidden by it; begin with a model that was trained so"
            )
        return given
    trained = train_bpe(_first_texts(config, stop, follow=follow), config.tokenizer.vocabulary - masks)
    return trained.with_mask() if masks else trained


def given_tokenizer(config: Config) -> Tokenizer | None:
    """Read the tokenizer that is given, as a file or with the weights that a run begins with; None: neither is."""
    if config.tokenizer.kind == "file":
        given = load_tokenizer(str(config.tokenizer.path))
        return given.with_mask() if config.model.learns == Objective.MASKED else given
    if config.model.start is None:
        return None
    return Tokenizer.from_json(place_of(config.model.start, Store.open(config.store)).tokenizer_json())


def what_is_lost(tokenizer: Tokenizer, config: Config) -> tuple[str, ...]:
    """Say which share of the sources' first texts a given tokenizer does not give back, if it is more than 0.1 %.

    Bits per byte are over all bytes of a text, also those that the model then never sees.
    """
    if config.tokenizer.kind not in ("file", "model"):
        return ()
    settings = ingest_settings(config, read_frozen(Store.open(config.store)))
    texts, left = [], MEASURED_BYTES
    sources = {label: open_source(label, source) for label, source in settings.sources.items()}
    for text, size in _kept_texts(settings, sources, {label: {} for label in sources}, set(), []):
        texts.append(text[:MEASURED_BYTES])
        left -= size
        if left <= 0:
            break
    share, lost = tokenizer.lost_share(texts)
    if share <= MOST_LOST:
        return ()
    return (
        f"the tokenizer of {config.tokenizer.path or config.model.start} loses {share:.1%} of the characters of the "
        f"first {len(texts)} texts ({' '.join(lost)} ...): the model never sees them, and bits per "
        "byte count them all the same; give a tokenizer that knows bytes, or tokenizer.kind=bpe",
    )


def _first_texts(config: Config, stop: Callable[[], bool], *, follow: bool) -> Iterator[str]:
    """Kept texts in the order of the log, up to tokenizer.train_bytes; at least one, which is waited for."""
    settings = ingest_settings(config, read_frozen(Store.open(config.store)))
    follow = follow or any(source.waits for source in settings.sources.values())
    cursors: dict[str, Cursor] = {label: {} for label in settings.sources}
    sources = {label: open_source(label, source) for label, source in settings.sources.items()}
    left, found = config.tokenizer.train_bytes, False
    while not found:
        unsettled: set[str] = set()
        warnings: list[str] = []
        for text, size in _kept_texts(settings, sources, cursors, unsettled, warnings):
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
    settings: IngestSettings,
    sources: dict[str, Source],
    cursors: dict[str, Cursor],
    unsettled: set[str],
    warnings: list[str],
) -> Iterator[tuple[str, int]]:
    """Texts and their bytes that are there now behind the cursors, which move on; held-out ones are never shown.

    unsettled: takes in the labels of sources that hold something which cannot be read yet; warnings: what they say.
    """
    open_labels = sorted(settings.sources)
    while open_labels:
        for label in list(open_labels):
            source = sources[label]
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


def curated(source: Source, label: str, span: Span, settings: IngestSettings) -> Iterator[pa.Table]:
    """Read and curate one span here, as a task of the pipeline does."""
    for records in source.read(span):
        yield curate(
            records,
            settings.curate,
            Provenance(label, span.partition, 1.0, span.modified_s, span.modified_s),
            seed=settings.seed,
            held_out_share=settings.held_out,
        )
