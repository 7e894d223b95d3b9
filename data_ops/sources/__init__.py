"""Sources: where documents come from, one room per kind behind one protocol."""
