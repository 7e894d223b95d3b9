"""Dataset: a folder that the `datasets` package of Hugging Face has saved, read without it."""
