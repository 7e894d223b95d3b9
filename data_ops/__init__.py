"""What is known about text: sources, curation, the lake, the reservoir, rounds and packing. No torch."""
