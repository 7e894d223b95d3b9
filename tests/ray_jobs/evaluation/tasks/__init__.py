"""Tests of ray_jobs/evaluation/tasks."""
