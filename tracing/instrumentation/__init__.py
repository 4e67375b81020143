"""Recording: what happens on the traced thread, and nothing else.

This room knows nothing of the database, the toolbar, HTTP pages or structlog.
"""
