"""Tests of ray_jobs/explorer."""
