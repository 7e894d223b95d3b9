"""Tests of ray_jobs/training/actors."""
