"""Tests of data_ops/steering."""
