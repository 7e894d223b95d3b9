"""Measures: figures taken from a model: bits per byte, FLOPs, gradient noise."""
