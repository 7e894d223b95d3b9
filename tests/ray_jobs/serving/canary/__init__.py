"""Tests of ray_jobs/serving/canary."""
