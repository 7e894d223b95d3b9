"""Sampling: the time-decayed weighted reservoir and its shards."""
