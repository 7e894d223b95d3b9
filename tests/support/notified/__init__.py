"""Notified: a bucket that tells a queue of its objects, on this machine."""
