"""Board: the rules of the house, counted; `python -m tests.board` prints every line and fails beyond a goal."""
