"""Tests of data_ops/rounds."""
