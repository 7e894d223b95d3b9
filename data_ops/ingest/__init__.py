"""Ingest: the way of a window from its sources into the lake; pipeline.py shows it on one page."""
