"""Tests of data_ops/curation/history."""
