"""Kinds: the architectures that can be trained, their loss and their exchange formats."""
