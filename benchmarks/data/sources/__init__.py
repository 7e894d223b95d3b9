"""How fast are documents read from each kind of source, beside the fastest client of others?"""
