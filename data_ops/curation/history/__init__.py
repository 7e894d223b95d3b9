"""History: rules that compare a document with all documents the store has ever kept."""
