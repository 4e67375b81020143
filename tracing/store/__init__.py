"""Keeping traces in a database.

All rooms above ask ``finding``, ``suggestions``, ``traces``, ``statistics``, ``nesting``, ``hazards``,
``searches``, ``recorder``, ``redirects``, ``answers``, ``explaining``, ``stories`` and ``retention``, and
write by ``writer``: in queries, summaries, records and plain values. ``interface`` says which of these
functions ClickHouse answers, too, and ``choice`` chooses; the rest is Django's.
"""
