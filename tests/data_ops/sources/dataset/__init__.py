"""Tests of data_ops/sources/dataset."""
