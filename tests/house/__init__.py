"""The rules of the house, executed: rooms, dependencies, docs, examples and benchmarks."""
