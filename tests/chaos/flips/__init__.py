"""One flipped bit in any file of a store: is it noticed, or does it mean nothing?"""
