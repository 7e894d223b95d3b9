"""Storage: bytes in a folder or a bucket that never show half written."""
