"""Living: a run that follows a growing corpus, is judged as it goes and killed, beside its calm twin."""
