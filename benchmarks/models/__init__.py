"""Models: real weights that arrive from the package index, and what becomes of them."""
