"""Curation: which documents are kept, which are dropped, and for which reason."""
