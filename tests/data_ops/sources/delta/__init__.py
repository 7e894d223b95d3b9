"""Tests of data_ops/sources/delta."""
