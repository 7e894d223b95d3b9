"""PostgreSQL: its statements, its errors, and its rows as Arrow."""
