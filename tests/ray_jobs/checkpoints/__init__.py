"""Tests of ray_jobs/checkpoints."""
