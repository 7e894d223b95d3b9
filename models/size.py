"""How large is a vocabulary on the device?"""


def padded_vocab(vocab_size: int) -> int:
    """Round a vocabulary up to a multiple of 64, which matrix units like.

    >>> padded_vocab(257), padded_vocab(64)
    (320, 64)
    """
    return -(-vocab_size // 64) * 64
