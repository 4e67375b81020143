"""How a project of its own mind writes German numbers and times."""

from __future__ import annotations

DECIMAL_SEPARATOR = "!"
THOUSAND_SEPARATOR = "?"
NUMBER_GROUPING = 2
TIME_FORMAT = DATETIME_FORMAT = "l"
