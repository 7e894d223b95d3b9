"""Files: JSON lines, Parquet and plain text in folders and buckets that grow."""
