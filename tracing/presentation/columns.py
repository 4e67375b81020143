"""The names of columns, the same in viewer, panel and terminal."""

from __future__ import annotations

from typing import Final

COLUMNS: Final = {
    "name": "Dispatch or receiver",
    "where": "Where",
    "start": "Start",
    "duration": "Time",
    "self": "Self time",
    "cpu": "CPU",
    "waiting": "Waiting",
    "queries": "Queries",
    "outcome": "Outcome",
    "timeline": "Timeline",
    "receiver": "Receiver",
    "signal": "Signal",
    "sender": "Sender",
    "calls": "Calls",
    "share": "Share of self time",
    "longest": "Longest",
    "errors": "Errors",
    "count": "Times",
}
