"""Conversations: what their records say, how they read as a text, and which of their tokens are learnt."""
