"""Tests of data_ops/sources/python_library."""
