"""Planner: memory, hours and money of a run, before a GPU is rented."""
