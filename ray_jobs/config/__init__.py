"""Config: one checked configuration, read from files and overrides."""
