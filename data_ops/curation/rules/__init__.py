"""Rules: what a document's text and metadata must be like, one frozen configuration each."""
