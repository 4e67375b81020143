"""Regular expressions that are compiled when they are first used.

To compile those of redaction takes longer than to load all of its code, and every process loads that.
"""

from __future__ import annotations

import re
from typing import Any, cast


def pattern(source: str, flags: int = 0) -> re.Pattern[str]:
    """Return what behaves as ``re.compile(source, flags)``, compiled later."""
    return cast("re.Pattern[str]", _Pattern(source, flags))


class _Pattern:
    """A pattern whose methods are fetched once, when they are asked for."""

    def __init__(self, source: str, flags: int) -> None:
        self._given = source, flags

    def __getattr__(self, name: str) -> Any:
        # From now on an attribute like any other: asked for without this method.
        found = vars(self)[name] = getattr(re.compile(*self._given), name)
        return found
