"""Tests of ray_jobs/serving/feedback."""
