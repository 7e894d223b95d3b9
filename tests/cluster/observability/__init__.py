"""Tests of cluster/observability."""
