"""Audit: whether the counts add up, and where a document is."""
