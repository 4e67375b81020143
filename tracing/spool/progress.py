"""The progress of a spool's collector, read from other processes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from tracing.clocks import time
from tracing.spool.folder import COLLECTOR
from tracing.spool.reader import SpoolReader

if TYPE_CHECKING:
    from tracing.spool.folder import Folder

FRESH_SECONDS: Final = 15.0
"""A collector that told nothing for so long is taken for gone."""


def progress(folder: Folder) -> dict[str, Any]:
    """Return as JSON who collects *folder*, and how far behind that is."""
    told = folder.read(COLLECTOR)
    # From the files themselves: also while nobody collects.
    waiting, oldest = SpoolReader(folder).behind()
    seen_ns = told.get("seen_ns", 0)
    return {
        "folder": str(folder.path),
        "is_alive": time.time_ns() - seen_ns < FRESH_SECONDS * 1e9,
        "host": told.get("host", ""),
        "process": told.get("process", 0),
        "seen_ns": seen_ns,
        "collected": told.get("recorded", 0),
        "behind_bytes": waiting,
        "behind_seconds": round(oldest, 1),
        "unreadable_files": told.get("unreadable_files", 0),
        "unreadable_traces": told.get("unreadable_traces", 0),
        "errors": told.get("errors", {}),
    }
