"""What a person types: one function a command, its options, its examples, and how it ends."""
