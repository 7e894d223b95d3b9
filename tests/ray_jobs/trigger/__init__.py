"""Tests of ray_jobs/trigger."""
