"""Brokers for tests: one within the process, one in a process of its own."""
