"""Answers to why a receiver was not called."""
