"""Training: the events of a run, and what its coordinator tells the workers."""
