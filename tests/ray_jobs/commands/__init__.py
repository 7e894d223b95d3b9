"""Tests of ray_jobs/commands."""
