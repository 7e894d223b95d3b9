"""How soon is it seen that the text of a source has changed, and how often is it said in vain?"""
