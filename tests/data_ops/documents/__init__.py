"""Tests of data_ops/documents."""
