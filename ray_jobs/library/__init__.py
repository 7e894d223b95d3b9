"""Library: what a Python program calls, to look into a store and to train from it with a loop of its own."""
