"""Tests of ray_jobs/origin."""
