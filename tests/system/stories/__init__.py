"""Stories of several runs that take minutes."""
