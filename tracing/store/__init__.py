"""Keeping traces in a database.

All rooms above ask ``finding``, ``suggestions``, ``traces``, ``statistics``, ``nesting``, ``hazards``,
``searches``, ``recorder``, ``redirects``, ``answers``, ``explaining``, ``stories`` and ``retention``, and
write by ``writer``: in queries, summaries, records and plain values. Whatever has these functions can
stand in this place; the rest is Django's.
"""
