"""The breaking machine: real runs under a seeded schedule of faults, and a checker of what they leave behind."""
