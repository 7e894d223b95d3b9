"""Tests of cluster/storage."""
