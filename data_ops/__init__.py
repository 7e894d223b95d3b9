"""Text: one room per stage a document passes, from a source to a packed round; it knows no torch."""
