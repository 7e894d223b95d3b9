"""Trial: one member of a sweep trains recorded rounds and is scored."""
