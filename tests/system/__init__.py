"""Tests of the whole: runs from end to end, documents, mistakes and the rules of the house."""
