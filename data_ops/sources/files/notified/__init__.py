"""Notified: which objects of a bucket are new, as a queue of its notifications says and a listing then proves."""
