"""Tests of data_ops/survey."""
