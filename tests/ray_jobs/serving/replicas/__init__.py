"""Tests of ray_jobs/serving/replicas."""
