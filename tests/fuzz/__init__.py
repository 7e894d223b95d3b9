"""Fuzz: every parser of what strangers write is fed mutated input, and may only answer or refuse in its own words."""
