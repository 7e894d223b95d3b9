"""The order of things: the command line, the configuration, and one file per job."""
