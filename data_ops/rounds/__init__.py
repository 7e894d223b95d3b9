"""Rounds: what is trained next, in which order and packing, written down first."""
