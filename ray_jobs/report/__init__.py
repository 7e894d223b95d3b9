"""Report: what is told of a run, as a summary, on the terminal and as a page."""
