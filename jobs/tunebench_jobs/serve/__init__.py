"""Serving: an OpenAI-compatible endpoint over Ray Serve with a transformers engine."""
