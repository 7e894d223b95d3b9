"""Formats: what the bytes of a file hold, unpacked, in UTF-8, record by record."""
