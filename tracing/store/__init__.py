"""Keeping traces in a database."""
