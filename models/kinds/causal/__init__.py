"""Causal: any causal language model of the transformers library, as that library computes it."""
