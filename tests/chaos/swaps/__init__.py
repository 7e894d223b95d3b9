"""Swaps: champions change while requests are answered; none may fail, and none may be of two checkpoints."""
