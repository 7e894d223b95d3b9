"""Sweep: many short trials over one store, from the question to the best configuration."""
