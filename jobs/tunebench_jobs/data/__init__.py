"""Pull requests in, prompts with answers and tasks out."""
