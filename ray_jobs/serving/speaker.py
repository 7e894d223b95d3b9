"""What of a checkpoint is in memory so that it can speak?"""

import tempfile
import time
from collections.abc import Container, Sequence
from pathlib import Path

import torch

from cluster.storage.store import Store
from data_ops.conversations.rendering import Renderer
from data_ops.conversations.template import ChatTemplate, template_of
from data_ops.documents.tokenizer import Tokenizer
from models.config import Objective
from models.device import device
from models.engine.engine import resolve_precision
from models.kinds.building import build
from models.kinds.kinds import model_config
from models.measures.decoding import ReadsRows
from models.measures.generation import ReadsAlong, generate
from models.measures.speculation import Drafts, Going, exact_blocks, speculate
from models.sampling import Sampling
from ray_jobs.checkpoints.manifest import Commit
from ray_jobs.checkpoints.weights import full_weights
from ray_jobs.ingest.opening import refuse_other_tokenizer
from ray_jobs.origin.record import read_files
from ray_jobs.outcome import ConfigError
from ray_jobs.store.frozen import read_chat, read_tokenizer


class Speaker:
    """A checkpoint that is in memory."""

    def __init__(self, store: Store, commit: Commit, precision: str) -> None:
        """Load it, in fp32, bf16, or (auto) in what is fast here; ConfigError where its kind cannot read on."""
        self.tokenizer = read_tokenizer(store)
        refuse_other_tokenizer(store, commit, self.tokenizer)
        config = model_config(commit.state.model)
        if config.learns != Objective.CAUSAL:
            raise ConfigError(
                f"checkpoint {commit.name} is an encoder (model.kind={config.kind}), which fills masks and cannot go "
                "on with a text; use a decoder, or headrace export and transformers"
            )
        with tempfile.TemporaryDirectory(prefix="headrace-") as scratch:
            weights = full_weights(store, commit, Path(scratch))
            model = build(config, config.tokens_of(self.tokenizer.vocab_size), None, weights)
        if not isinstance(model, ReadsRows | ReadsAlong):
            raise ConfigError(
                f"checkpoint {commit.name} is of kind {config.kind}, which cannot generate; use a decoder"
            )
        kept = torch.bfloat16 if resolve_precision(precision) == "bf16" else torch.float32
        self.model, self.like = model, torch.empty(0, dtype=kept, device=device())
        model.to(self.like).eval()

    def prompt(self, text: str) -> list[int]:
        """Return the tokens of a prompt: of a document that begins with it."""
        return [self.tokenizer.document_token, *self.tokenizer.encode([text])[0].as_py()]

    def go_on(self, prompt: str, most: int, how: Sampling) -> Going:
        """Yield the tokens that follow a prompt, as a document that begins with it, those of each forward pass."""
        return self._tokens(self.prompt(prompt), most, {self.tokenizer.document_token}, how)

    def answer(self, question: str, chat: ChatTemplate, most: int, how: Sampling) -> Going:
        """Yield the tokens of an answer, as a chat template asks for it; ConfigError where it does not."""
        rendered = Renderer(chat).render([{"role": "user", "content": question}], time.time(), asks=True)
        if rendered.refusal is not None:
            raise ConfigError(rendered.refusal)
        return self._tokens(self.tokenizer.encode_marked(rendered.text), most, chat.ends, how)

    def _tokens(self, prompt: Sequence[int], most: int, ends: Container[int], how: Sampling) -> Going:
        """The tokens that follow: several a forward pass where the model drafts them and nothing is drawn."""
        model = self.model
        if isinstance(model, ReadsAlong) and model.positions is not None and len(prompt) + most > model.positions:
            raise ConfigError(
                f"{len(prompt)} tokens of the prompt and {most} that may follow are more than the {model.positions} "
                "positions of this model; ask for fewer with --tokens, or shorten the prompt"
            )
        if how.temperature == 0 and isinstance(model, Drafts) and exact_blocks(model, self.like):
            return speculate(model, prompt, most, ends, self.like)
        return ((token,) for token in generate(model, prompt, most, ends, how, self.like))


def chat_of(store: Store, commit: Commit, tokenizer: Tokenizer) -> ChatTemplate | None:
    """The template by which a checkpoint is asked: the store's, else that of the model it began with; None: neither."""
    return read_chat(store) or template_of(read_files(store, commit.state.base or commit.name), tokenizer)
