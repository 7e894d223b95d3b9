"""Tests of data_ops/sources/sql."""
