"""Runs that begin by themselves: what waits is looked at, and one run at a time is started for it."""
