"""Edge: writers that stall, rotate, truncate and poison what a source reads, and a checker that knows their truth."""
