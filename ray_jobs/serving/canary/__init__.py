"""Canary: a new champion answers a share of the conversations, and goes back if people rate it worse."""
