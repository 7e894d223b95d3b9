"""Exchange: folders of the Hugging Face world, looked into and written."""
