"""Two models that are only figures, before the real gate and registry."""
