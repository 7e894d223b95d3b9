"""Tests of data_ops/sampling."""
