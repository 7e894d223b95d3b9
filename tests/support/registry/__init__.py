"""Registries for tests: champions without a lake, and a small store with all of it."""
