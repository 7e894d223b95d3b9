"""Ingest: the store is opened, its tokenizer made, and windows are read beside training."""
