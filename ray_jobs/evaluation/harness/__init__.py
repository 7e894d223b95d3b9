"""Harness: tasks of lm-evaluation-harness from local files, run apart from us and answered by our models."""
