"""Store: where things lie in a store, and who may use it now."""
