"""Serving: checkpoints that answer: text that a model goes on with."""
