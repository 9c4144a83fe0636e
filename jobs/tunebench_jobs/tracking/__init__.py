"""Results logged to a tracking server, besides the store."""
