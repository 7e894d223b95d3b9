"""Files as ingest reads them, and their rows, for tests."""
