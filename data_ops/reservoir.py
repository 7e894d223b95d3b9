"""The reservoir, at the path that others import; its code is in data_ops/sampling."""

from data_ops.sampling.reservoir import Reservoir

__all__ = ["Reservoir"]
