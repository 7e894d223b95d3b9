"""Tests of data_ops/lake."""
