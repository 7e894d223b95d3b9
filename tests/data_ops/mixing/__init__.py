"""Tests of data_ops/mixing."""
