"""Planner: planned figures beside published runs."""
