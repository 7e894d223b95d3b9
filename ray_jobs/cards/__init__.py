"""Cards: what a champion is and what it was trained on, for people, the Hugging Face hub, and beside another."""
