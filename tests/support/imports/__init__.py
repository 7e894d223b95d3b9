"""Imports that tests make late, once, or leave to a server that forks."""
