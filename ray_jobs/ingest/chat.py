"""Which chat template does a store write its conversations by?

The one that came with the model or the tokenizer when its first conversations were taken in, else a stated default. It
is written down then, because it decides tokens as the tokenizer does; another one is refused.
"""

from pathlib import Path

from cluster.storage.state import publish_json
from cluster.storage.store import Store
from cluster.storage.uri import expanded_path
from data_ops.conversations.answers import try_template
from data_ops.conversations.template import GENERATION, SETTINGS, TEMPLATE, ChatTemplate, default_template, template_of
from data_ops.documents.tokenizer import Tokenizer
from ray_jobs.config.schema import Config
from ray_jobs.origin.place import Folder, place_of
from ray_jobs.origin.record import read_files
from ray_jobs.outcome import ConfigError
from ray_jobs.store.frozen import read_chat
from ray_jobs.store.paths import CHAT


def open_chat(store: Store, config: Config, tokenizer: Tokenizer) -> tuple[ChatTemplate | None, tuple[str, ...]]:
    """Return the store's template and what a person should know of it, and write it down where there is none yet.

    ConfigError where the configuration brings another one, or one that answers cannot be learnt with.
    """
    stored = read_chat(store)
    if not any(source.conversations for source in config.sources.values()):
        return stored, ()
    given = _given(store, config, tokenizer)
    if stored is not None:
        if given is not None and given.fingerprint != stored.fingerprint:
            raise ConfigError(
                f"the chat template that comes with model.from={config.model.start} has fingerprint "
                f"{given.fingerprint}, store {store.uri} writes its conversations by {stored.fingerprint} "
                f"({stored.origin}); give the folder that template, or use another store"
            )
        return stored, ()
    made = given or default_template(tokenizer)
    try:
        try_template(made, tokenizer)
    except ValueError as error:
        raise ConfigError(str(error)) from None
    publish_json(store, CHAT, made)
    return read_chat(store), (() if given else (f"conversations are written by {made.origin}",))


def _given(store: Store, config: Config, tokenizer: Tokenizer) -> ChatTemplate | None:
    """The template that comes with the model or the tokenizer; None where none does, or its folder is gone."""
    if config.tokenizer.path is not None:
        return template_of(_small_files(expanded_path(config.tokenizer.path).parent), tokenizer)
    if config.model.start is None:
        return None
    try:
        place = place_of(config.model.start, store)
    except ConfigError:
        return None
    if isinstance(place, Folder):
        return template_of(_small_files(place.path), tokenizer)
    return read_chat(place.store) or template_of(read_files(place.store, place.commit.state.base), tokenizer)


def _small_files(folder: Path) -> dict[str, bytes]:
    names = (TEMPLATE, SETTINGS, GENERATION)
    return {name: (folder / name).read_bytes() for name in names if (folder / name).is_file()}
