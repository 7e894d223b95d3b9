"""Tests of ray_jobs/driver."""
