"""What recorded figures say of a mixture: how often documents were replayed, and whose text has changed."""
