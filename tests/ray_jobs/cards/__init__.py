"""Tests of ray_jobs/cards."""
