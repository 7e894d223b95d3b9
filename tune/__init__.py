"""Choices: search spaces, the search over them, and the policies that stop or copy trials."""
