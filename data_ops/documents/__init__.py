"""Documents: what one document is, its id, its place, its fate and its tokens."""
