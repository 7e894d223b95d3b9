"""What was frozen when a store was made: its seed, held-out share and tokenizer?

Whoever only reads a store asks here; what a configuration has to say about it is in `ray_jobs/ingest/opening.py`.
"""

from typing import Any, Literal

import msgspec

from cluster.storage.seal import DamagedError
from cluster.storage.state import read_json
from cluster.storage.store import Store
from data_ops.conversations.template import ChatTemplate
from data_ops.documents.tokenizer import Tokenizer
from ray_jobs.outcome import ConfigError
from ray_jobs.store.paths import CHAT, TOKENIZER

FORMAT, READABLE = 2, (1, 2)  # 1: without digests
SETTINGS = "store.json"
MEND = "restore it from a copy"


class Frozen(msgspec.Struct, frozen=True, kw_only=True):
    """What never changes in a store, but for held_out, which may be raised for the windows to come.

    tokenizer_fingerprint is None where an older version made it. objective: what its documents are stored for; where
    that is masked, each ends with the token that closes a text for encoders.
    """

    format: int
    seed: int
    held_out: float
    tokenizer: dict[str, Any]
    tokenizer_fingerprint: str | None = None
    objective: Literal["causal", "masked"] = "causal"


def read_frozen(store: Store) -> Frozen | None:
    """What is frozen in a store; None before it is made. ConfigError for a format of another version."""
    try:
        frozen = read_json(store, SETTINGS, Frozen, MEND)
    except FileNotFoundError:
        return None
    if frozen.format not in READABLE:
        raise ConfigError(f"store {store.uri} has format {frozen.format}; this version reads up to {FORMAT}")
    return frozen


def read_tokenizer(store: Store) -> Tokenizer:
    """The tokenizer of a store; DamagedError where it is not the one the store was made with."""
    place, frozen = f"{store.uri}/{TOKENIZER}", read_frozen(store)
    try:
        tokenizer = Tokenizer.from_json(store.read(TOKENIZER).decode())
    except ValueError as error:
        raise DamagedError(f"{place} is damaged: {error}; {MEND}") from error
    if frozen and frozen.tokenizer_fingerprint not in (None, tokenizer.fingerprint):
        raise DamagedError(
            f"{place} has fingerprint {tokenizer.fingerprint}, the store was made with {frozen.tokenizer_fingerprint}: "
            f"it would tokenise otherwise; {MEND}"
        )
    return tokenizer


def read_chat(store: Store) -> ChatTemplate | None:
    """The template by which a store writes conversations; None where it has taken in none."""
    try:
        return read_json(store, CHAT, ChatTemplate, MEND)
    except FileNotFoundError:
        return None
