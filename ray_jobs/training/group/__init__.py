"""Group: Ray Train's worker group, how many ranks it has, and what happens when one fails."""
