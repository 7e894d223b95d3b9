"""Explorer: one page in which people see, and search, what a store's models are trained on."""
