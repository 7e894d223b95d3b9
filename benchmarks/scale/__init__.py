"""What does a store cost as it grows, at the start and at each window?"""
