"""Tensors: one room per thing done to them, from the model's kind to its engine; it knows no Ray."""
