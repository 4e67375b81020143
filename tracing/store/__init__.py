"""Keeping traces in a database.

All rooms above ask ``finding``, ``suggestions``, ``traces``, ``statistics``, ``nesting``, ``hazards``,
``searches``, ``recorder``, ``redirects``, ``answers``, ``explaining``, ``stories`` and ``retention``, and
write by ``writer``: in queries, summaries, records and plain values. Functions marked by ``choice.asked``
are answered by their namesakes in ``clickhouse`` where that is the store; the rest is Django's alone.
"""
