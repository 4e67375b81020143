"""Our own failures: swallowed, counted and logged here, and nowhere else.

The traced program comes first. A failure of the recording is logged once per kind and place with
its traceback, counted, and shown in the viewer; it never reaches the application.
"""

from __future__ import annotations

import logging
from collections import Counter

logger = logging.getLogger("tracing")

counts: Counter[str] = Counter()
"""Failures by place, since the process began."""

_LOGGED_PLACES = 100
"""Kinds of failures that are counted and logged apart; the rest are counted together."""


def failed(place: str, error: BaseException) -> None:
    """Count a failure of the recording at *place* and log the first one of each kind. Never raises."""
    try:
        key = f"{place}: {type(error).__name__}"
        if key not in counts and len(counts) >= _LOGGED_PLACES:
            key = "elsewhere"
        known = counts[key]
        counts[key] = known + 1
        if not known:
            logger.error(
                "Recording failed in %s; the application is not affected.", place, exc_info=error
            )
    except Exception:  # Even logging may be broken; there is nobody left to tell.
        return
