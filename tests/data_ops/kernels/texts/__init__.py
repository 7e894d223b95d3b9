"""Tests of data_ops/kernels/texts."""
