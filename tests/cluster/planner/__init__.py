"""Tests of cluster/planner."""
