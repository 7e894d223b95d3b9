"""Tests of data_ops/audit."""
