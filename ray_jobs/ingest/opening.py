"""How does a store come to be, and what must never change in it?

`open_store` creates the lake, freezes seed, held-out share and tokenizer, and refuses a configuration that contradicts
them. It needs no Ray, so that what is wrong can be said before seconds are spent on importing it.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from cluster.storage.store import Store
from data_ops.documents.tokenizer import Tokenizer, load_tokenizer
from data_ops.ingest.config import IngestSettings
from data_ops.lake.lake import Lake
from ray_jobs.config.schema import Config, ingest_settings
from ray_jobs.ingest.first_tokenizer import make_tokenizer
from ray_jobs.outcome import ConfigError

FORMAT = 1
SETTINGS, TOKENIZER = "store.json", "tokenizer.json"


@dataclass(frozen=True)
class OpenStore:
    """A store whose settings agree with the configuration."""

    store: Store
    lake: Lake
    tokenizer: Tokenizer
    tokenizer_json: str
    settings: IngestSettings


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


def _frozen(config: Config) -> dict[str, Any]:
    tokenizer = config.tokenizer.model_dump(mode="json", exclude={"path"})
    return {"seed": config.seed, "held_out": config.held_out, "tokenizer": tokenizer}


def _short(value: Any) -> str:
    return json.dumps(value) if isinstance(value, dict) else str(value)
