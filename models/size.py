"""How many parameters does a model have?"""

from models.config import ModelConfig


def padded_vocab(vocab_size: int) -> int:
    """Round a vocabulary up to a multiple of 64, which matrix units like.

    >>> padded_vocab(257), padded_vocab(64)
    (320, 64)
    """
    return -(-vocab_size // 64) * 64


def num_parameters(config: ModelConfig, vocab_size: int) -> int:
    """Count trainable parameters, padded vocabulary included, without building the model."""
    kv_width = config.kv * (config.width // config.heads)
    layer = 2 * config.width * (config.width + kv_width) + 3 * config.width * config.ffn + 2 * config.width
    tables = padded_vocab(vocab_size) * config.width * (1 if config.tie_embeddings else 2)
    return config.layers * layer + tables + config.width
