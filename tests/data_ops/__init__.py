"""Tests of data_ops."""
