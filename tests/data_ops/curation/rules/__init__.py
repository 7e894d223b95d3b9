"""Tests of data_ops/curation/rules."""
