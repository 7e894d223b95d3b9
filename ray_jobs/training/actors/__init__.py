"""Actors: the services of a run: the coordinator, the feed of rows, the files of rounds."""
