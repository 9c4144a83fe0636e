"""Verdicts that other tools published: read, kept in the ledger, and scored like our own."""
