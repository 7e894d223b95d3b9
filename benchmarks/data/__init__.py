"""Data: what ingest, sampling and packing cost."""
