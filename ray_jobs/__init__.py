"""Order: the command line, and one room per job that it starts; __main__.py is the door."""
