"""Runtime: the Ray connection, the nodes that live, and how worker processes come to be."""
