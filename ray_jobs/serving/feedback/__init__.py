"""Feedback: what people said of answers, kept with their consent, for the next rounds to learn from."""
