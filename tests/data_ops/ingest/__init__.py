"""Tests of data_ops/ingest."""
