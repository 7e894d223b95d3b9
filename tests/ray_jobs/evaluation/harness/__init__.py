"""Tests of ray_jobs/evaluation/harness."""
