"""Tests of ray_jobs/mixture."""
