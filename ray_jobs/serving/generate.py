"""What does `headrace generate` do? It lets a checkpoint go on with a text, here, and shows the text as it comes."""

import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import torch

from cluster.storage.store import Store
from data_ops.documents.tokenizer import Tokenizer
from models.device import device
from models.engine.engine import resolve_precision
from models.kinds.building import build
from models.kinds.kinds import model_config
from models.measures.generation import ReadsOn, generate
from models.sampling import Sampling
from ray_jobs.checkpoints.manifest import Commit
from ray_jobs.checkpoints.weights import full_weights
from ray_jobs.ingest.opening import refuse_other_tokenizer
from ray_jobs.outcome import ConfigError
from ray_jobs.store.frozen import read_tokenizer

UNFINISHED = "\ufffd"  # what bytes that are no whole character yet decode to


class Speaker:
    """A checkpoint that is in memory."""

    def __init__(self, store: Store, commit: Commit, precision: str) -> None:
        """Load it, in fp32, bf16, or (auto) in what is fast here; ConfigError where its kind cannot read on."""
        self.tokenizer = read_tokenizer(store)
        refuse_other_tokenizer(store, commit, self.tokenizer)
        config = model_config(commit.state.model)
        with tempfile.TemporaryDirectory(prefix="headrace-") as scratch:
            weights = full_weights(store, commit, Path(scratch))
            model = build(config, config.tokens_of(self.tokenizer.vocab_size), None, weights)
        if not isinstance(model, ReadsOn):
            raise ConfigError(
                f"checkpoint {commit.name} is of kind {config.kind}, which cannot generate; use a decoder"
            )
        kept = torch.bfloat16 if resolve_precision(precision) == "bf16" else torch.float32
        self.model, self.like = model, torch.empty(0, dtype=kept, device=device())
        model.to(self.like).eval()

    def go_on(self, prompt: str, most: int, how: Sampling) -> Iterator[int]:
        """Yield the tokens that follow a prompt, as a document that begins with it."""
        given = [self.tokenizer.document_token, *self.tokenizer.encode([prompt])[0].as_py()]
        return generate(self.model, given, most, self.tokenizer.document_token, how, self.like)


class Said(NamedTuple):
    """A text, how many tokens it is, and the seconds they took."""

    text: str
    tokens: int
    seconds: float


def stream(tokenizer: Tokenizer, tokens: Iterator[int], show: Callable[[str], None]) -> Said:
    """Show a text as its tokens come; what is no whole character yet is held back."""
    began, ids, shown = time.perf_counter(), list[int](), ""
    for token in tokens:
        ids.append(token)
        text = tokenizer.decode(ids)
        if text.startswith(shown) and not text.endswith(UNFINISHED):
            show(text[len(shown) :])
            shown = text
    text = tokenizer.decode(ids)
    if text.startswith(shown):
        show(text[len(shown) :])
    return Said(text, len(ids), round(time.perf_counter() - began, 3))
