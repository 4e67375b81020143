"""Buyers: who buys. Each one belongs to a user and is made by a signal."""
