"""Analysis: pure functions over finished traces and over aggregates.

- ``names``: names and places as text for people
- ``tree``: the tree of a trace, its rows, critical path, totals, and two trees compared
- ``hazards``: rules that name a bug, show the evidence and propose the remedy
- ``wiring``: which receivers are connected to what, and how that changed
- ``regression``: two periods or releases compared by a statistical test
"""

from __future__ import annotations
