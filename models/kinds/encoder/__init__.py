"""Encoder: models that see both ways and fill masks, as the transformers library computes them."""
