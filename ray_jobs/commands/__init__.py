"""Commands: what each command does that is not a job of its own."""
