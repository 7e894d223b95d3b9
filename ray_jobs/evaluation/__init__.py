"""Evaluation: held-out slices, their scores, and the decision of the gate."""
