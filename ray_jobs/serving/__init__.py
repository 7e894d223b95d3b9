"""Serving: checkpoints that answer: a text that a model goes on with, here, or over HTTP as the champion changes."""
