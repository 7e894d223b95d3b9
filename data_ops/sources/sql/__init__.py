"""SQL: tables of PostgreSQL and SQLite, read in the order in which their rows became final."""
