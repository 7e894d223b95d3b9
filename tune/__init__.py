"""What is known about choices: search spaces and the search over them."""
