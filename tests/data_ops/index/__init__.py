"""Tests of data_ops/index."""
