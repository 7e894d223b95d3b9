"""Texts: figures of a batch of texts, counted over their bytes."""
