"""What is a checkpoint in service: its weights in memory, its name, and how new the newest text is that it trained?"""

from dataclasses import dataclass, field

from cluster.storage.store import Store
from data_ops.lake.lake import Lake
from models.kinds.kinds import model_config
from models.measures.decoding import BatchDecoder, ReadsRows
from ray_jobs.checkpoints.manifest import by_name
from ray_jobs.config.blocks import ServeConfig
from ray_jobs.serving.followed import fingerprint_of, newest_event_s
from ray_jobs.serving.openai.chat import ChatPrompts
from ray_jobs.serving.speaker import Speaker, chat_of


@dataclass(frozen=True, eq=False)
class ServedCheckpoint:
    """A checkpoint that answers. It never changes: another champion is another one of these."""

    name: str
    fingerprint: str  # of weights and precision
    speaker: Speaker = field(repr=False)
    decoder: BatchDecoder = field(repr=False)
    context: int  # tokens of a prompt and its answer together
    chat: ChatPrompts | None = field(repr=False)
    newest_event_s: float | None  # unix time of the newest document it trained; None where the store does not know


def load_served(store: Store, name: str, precision: str, serve: ServeConfig) -> ServedCheckpoint:
    """Load a checkpoint by name. FileNotFoundError, ValueError or OSError, in a sentence, where that cannot be done."""
    try:
        commit = by_name(store, name)
    except FileNotFoundError:
        raise FileNotFoundError(f"checkpoint {name} is not in {store.uri}") from None
    speaker = Speaker(store, commit, precision)
    if not isinstance(speaker.model, ReadsRows):
        raise ValueError(
            f"checkpoint {name} is of kind {model_config(commit.state.model).kind}, whose texts cannot go on together; "
            "use headrace generate, or headrace export and a server of transformers"
        )
    chat = chat_of(store, commit, speaker.tokenizer)
    return ServedCheckpoint(
        name=commit.name,
        fingerprint=fingerprint_of(commit, str(speaker.like.dtype)),
        speaker=speaker,
        decoder=BatchDecoder(speaker.model, serve.batch, speaker.like),
        context=serve.context or model_config(commit.state.model).row_tokens,
        chat=ChatPrompts(chat) if chat else None,
        newest_event_s=newest_event_s(Lake(store), commit),
    )
