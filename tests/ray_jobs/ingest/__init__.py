"""Tests of ray_jobs/ingest."""
