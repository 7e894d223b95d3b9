"""Tests of ray_jobs/sweep/trial."""
