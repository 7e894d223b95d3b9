"""Tests of data_ops/sources/push."""
