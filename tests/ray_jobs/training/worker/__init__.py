"""Tests of ray_jobs/training/worker."""
