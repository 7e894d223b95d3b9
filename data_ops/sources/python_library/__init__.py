"""Python library: the docstrings of the installed Python, a corpus that every machine has."""
