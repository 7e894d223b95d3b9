"""How does a store come to be, and what must never change in it?

`open_store` creates the lake, freezes seed, held-out share and tokenizer, and refuses a configuration that contradicts
them; the share may be raised. It needs no Ray, so that what is wrong can be said before seconds are spent on importing
it.
"""

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypedDict

from cluster.storage.seal import DamagedError
from cluster.storage.state import publish_json, write_json
from cluster.storage.store import Store
from data_ops.documents.tokenizer import Tokenizer
from data_ops.ingest.config import IngestSettings
from data_ops.lake.lake import Lake
from models.config import Objective
from ray_jobs.checkpoints.manifest import Commit
from ray_jobs.config.schema import Config
from ray_jobs.ingest.chat import open_chat
from ray_jobs.ingest.first_tokenizer import given_tokenizer, make_tokenizer, what_is_lost
from ray_jobs.ingest.settings import ingest_settings, share_held_out
from ray_jobs.outcome import ConfigError
from ray_jobs.store.frozen import FORMAT, MEND, SETTINGS, Frozen, read_frozen, read_tokenizer
from ray_jobs.store.paths import TOKENIZER

WORDS = {"causal": "a model that predicts next tokens", "masked": "an encoder, which fills masks"}
PUBLISH_SECONDS = 10.0  # between settings and tokenizer of another process that makes the same store


@dataclass(frozen=True)
class OpenStore:
    """A store whose settings agree with the configuration."""

    store: Store
    lake: Lake
    tokenizer: Tokenizer
    tokenizer_json: str
    settings: IngestSettings
    warnings: tuple[str, ...] = ()


def check_store(store: Store, config: Config) -> None:
    """Refuse a configuration that contradicts what the store was made with. Touches nothing."""
    frozen = read_frozen(store)
    if frozen is None:
        return
    held_out = share_held_out(config, frozen)
    if held_out < frozen.held_out:  # a larger share holds every document that the smaller one holds
        raise ConfigError(
            f"held_out={held_out:g} is less than {frozen.held_out:g}, which store {store.uri} holds out; it "
            f"may only be raised: set held_out={frozen.held_out:g} or more, or use another store"
        )
    if frozen.objective != config.model.learns:
        raise ConfigError(
            f"store {store.uri} keeps documents for {WORDS[frozen.objective]}, and model.kind={config.model.kind} is "
            f"{WORDS[config.model.learns]}; use another store for it"
        )
    for key, mine in _frozen(config).items():
        if (kept := getattr(frozen, key)) != mine:
            raise ConfigError(
                f"{key}={_short(mine)} differs from {_short(kept)}, which store {store.uri} was made with; "
                f"set it back, or use another store"
            )
    if config.tokenizer.kind in ("file", "model") and store.exists(TOKENIZER):
        _refuse_other_file(store, config)


def _refuse_other_file(store: Store, config: Config) -> None:
    """Compare a given tokenizer with the store's."""
    try:
        given = given_tokenizer(config)
    except ConfigError:  # of a folder that is gone: the store has its tokenizer
        return
    if given is not None and given.fingerprint != (kept := read_tokenizer(store).fingerprint):
        path = config.tokenizer.path
        which = f"tokenizer.path={path}" if path else f"the tokenizer of model.from={config.model.start}"
        raise ConfigError(
            f"{which} has fingerprint {given.fingerprint}, store {store.uri} was made with {kept}; give that "
            "tokenizer, or use another store"
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
    if lake.last_window() >= 0 and (gone := [path for path in (SETTINGS, TOKENIZER) if not store.exists(path)]):
        raise DamagedError(f"{store.uri}/{gone[0]} is gone, and the store has windows that were made with it; {MEND}")
    made = None if store.exists(TOKENIZER) else make_tokenizer(config, stop, follow=follow)
    fingerprint = (made or read_tokenizer(store)).fingerprint
    frozen = _now(config, store, fingerprint)
    if not publish_json(store, SETTINGS, frozen):
        check_store(store, config)
        frozen = _now(config, store, fingerprint)
    if made is not None:
        _publish(store, made)
    tokenizer = read_tokenizer(store)
    warnings = () if made is None else what_is_lost(made, config)
    if (kept := read_frozen(store)) and (kept.format < FORMAT or kept.held_out < frozen.held_out):
        write_json(store, SETTINGS, frozen)  # from now on it holds digests
        if kept.held_out < frozen.held_out:
            now = f"from now on {frozen.held_out:g} of the documents are held out (held_out was {kept.held_out:g})"
            warnings = (*warnings, f"{now}; what was taken in before stays as it is")
    chat, told = open_chat(store, config, tokenizer)
    settings = ingest_settings(config, frozen, chat)
    return OpenStore(store, lake, tokenizer, tokenizer.to_json(), settings, (*warnings, *told))


def _now(config: Config, store: Store, fingerprint: str) -> Frozen:
    """What the store is to hold from now on."""
    held_out = share_held_out(config, read_frozen(store))
    return Frozen(
        format=FORMAT,
        held_out=held_out,
        **_frozen(config),
        tokenizer_fingerprint=fingerprint,
        objective="masked" if config.model.learns == Objective.MASKED else "causal",
    )


def _publish(store: Store, made: Tokenizer) -> None:
    """Put a new store's tokenizer there, or wait until the process has done so whose settings were first."""
    frozen, deadline = read_frozen(store), time.monotonic() + PUBLISH_SECONDS
    if frozen is None or frozen.tokenizer_fingerprint in (None, made.fingerprint):
        store.publish(TOKENIZER, made.to_json().encode())
    while not store.exists(TOKENIZER):
        if time.monotonic() > deadline:
            raise ConfigError(
                f"{store.uri}/{SETTINGS} names a tokenizer that is not there, for the start that made it was ended; "
                "delete that file, as nothing was taken in yet, and start again"
            )
        time.sleep(0.1)


def refuse_other_tokenizer(store: Store, commit: Commit, tokenizer: Tokenizer) -> None:
    """Raise DamagedError unless a checkpoint was trained with this tokenizer; one of an older version may not say."""
    if commit.state.tokenizer not in (None, tokenizer.fingerprint):
        raise DamagedError(
            f"checkpoint {commit.name} was trained with tokenizer {commit.state.tokenizer}, {store.uri}/{TOKENIZER} "
            f"has fingerprint {tokenizer.fingerprint}; {MEND}"
        )


class Fixed(TypedDict):
    """What the configuration says of a store for good."""

    seed: int
    tokenizer: dict[str, object]


def _frozen(config: Config) -> Fixed:
    tokenizer = config.tokenizer.model_dump(mode="json", exclude={"path"})
    return {"seed": config.seed, "tokenizer": tokenizer}


def _short(value: object) -> str:
    return json.dumps(value) if isinstance(value, dict) else str(value)
