"""Checkpoints: what is committed, where its files are, how long it is kept, who is champion."""
