"""Judges compare each completion with the baseline's, in both orders, and no verdict is lost."""
