"""Tests of ray_jobs/store."""
