"""How often does the gate promote what is no better, and what does it see?"""
