"""Tests of ray_jobs/config."""
