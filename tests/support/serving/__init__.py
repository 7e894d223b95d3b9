"""Stores whose checkpoints answer, servers of them, and a way to ask without a socket."""
