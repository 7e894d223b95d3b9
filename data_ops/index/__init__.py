"""Index: which documents are known, in sorted files that a start opens instead of reading the lake."""
