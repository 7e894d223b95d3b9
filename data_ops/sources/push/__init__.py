"""Push: documents that are sent over HTTP are durable in a spool of JSON lines before they are answered."""
