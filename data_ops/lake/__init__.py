"""Lake: the durable tables of documents, windows, rounds and ledger notes."""
