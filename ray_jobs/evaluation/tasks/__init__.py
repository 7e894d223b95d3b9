"""Tasks: what a model is asked to show, slice by slice: held-out text first."""
