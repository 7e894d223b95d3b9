"""Tests of ray_jobs/registry."""
