"""Tests of data_ops/sources/kafka/registered."""
