"""Tests of ray_jobs/report."""
