"""Origin: the weights that a run begins with, found where `model.from` says and taken into the store."""
