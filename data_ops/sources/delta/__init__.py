"""Delta: a table whose versions are read one after the other, as its transaction log lists them."""
