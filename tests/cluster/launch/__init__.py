"""Tests of cluster/launch."""
