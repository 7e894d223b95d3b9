"""Kernels: compiled loops over arrays and nothing else; read them last."""
