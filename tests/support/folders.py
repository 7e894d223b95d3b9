"""Small Hugging Face folders, as people have them, and runs that begin with one at `base`."""

from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from cluster.storage.store import Store
from models.config import ModelConfig
from models.kinds.exchange.writing import SHARD_BYTES, write_folder
from models.kinds.kind import Handover, Pretrained
from models.kinds.transformer import Transformer, initialise
from ray_jobs.config.reading import read_config
from ray_jobs.config.schema import Config
from ray_jobs.ingest.opening import open_store
from ray_jobs.origin.shape import begun
from ray_jobs.origin.taking import take_in

CONFIG = ModelConfig(layers=2, width=48, heads=4, kv_heads=2, row_tokens=64, rope_theta=5000.0, norm_eps=1e-6)


def byte_tokenizer() -> tuple[str, int, int]:
    """Make a byte-level tokenizer: (JSON, document token, vocabulary size)."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE({letter: i for i, letter in enumerate(alphabet)}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(["<|document|>"])
    return tokenizer.to_str(), tokenizer.token_to_id("<|document|>"), tokenizer.get_vocab_size()


JSON, DOCUMENT, VOCAB = byte_tokenizer()


def folder_of(
    directory: Path,
    config: ModelConfig = CONFIG,
    vocab_size: int = VOCAB,
    shard_bytes: int = SHARD_BYTES,
    seed: int = 5,
) -> Transformer:
    """Write a folder of a random model whose weights are large enough to matter; returns the model."""
    model = Transformer(config, vocab_size)
    initialise(model, seed)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(1 + torch.rand(parameter.shape, generator=generator)).mul_(4 if parameter.ndim == 2 else 1)
    weights = {name: parameter.detach() for name, parameter in model.named_parameters()}
    write_folder(Pretrained(config, vocab_size, weights), Handover(JSON, DOCUMENT), directory, shard_bytes)
    return model


def config_of(tmp_path: Path, *overrides: str) -> Config:
    """The configuration of a run that begins there."""
    given = [f"store={tmp_path}/lake", "name=mine", f"model.from={tmp_path}/base", "model.row_tokens=64", *overrides]
    return begun(read_config([], given))


def taken(tmp_path: Path, *overrides: str) -> tuple[Store, str]:
    """Take the weights into the store; returns it, and the checkpoint that they are."""
    config = config_of(tmp_path, *overrides)
    opened = open_store(config)
    name = take_in(opened.store, config, opened.tokenizer)
    assert name is not None
    return opened.store, name
