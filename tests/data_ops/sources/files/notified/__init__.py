"""Tests of data_ops/sources/files/notified."""
