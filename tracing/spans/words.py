"""The words of a trace: its causes, and the ends of it and its parts."""

from __future__ import annotations

from enum import StrEnum
from typing import Final


class Kind(StrEnum):
    """The causes of a trace's dispatches."""

    REQUEST = "request"
    COMMAND = "command"
    TASK = "task"
    TEST = "test"
    BLOCK = "block"
    DISPATCH = "dispatch"
    """A standalone dispatch: sent outside any other unit of work."""


class Status(StrEnum):
    """The ends that a trace may have."""

    RUNNING = "running"
    OK = "ok"
    ERROR = "error"
    CANCELLED = "cancelled"
    """Given up from outside before it was done, as an ASGI server does when the client has gone."""


UNFINISHED: Final = "unfinished"
"""The attribute of a trace that says why nobody told of its end."""


class Outcome(StrEnum):
    """The ends that a receiver call may have."""

    RUNNING = "running"
    RETURNED = "returned"
    RAISED = "raised"
    CANCELLED = "cancelled"
    SKIPPED = "skipped"
    """Never called, because an earlier receiver of the same dispatch raised."""
    UNKNOWN = "unknown"
    """Its end was not observed: the dispatch was cut short or Django's release is not verified."""


TIMED: Final = frozenset({Outcome.RETURNED, Outcome.RAISED, Outcome.CANCELLED})
"""Of a call that has no end, or that was never made, no time is known."""


class Method(StrEnum):
    """The four ways of sending."""

    SEND = "send"
    SEND_ROBUST = "send_robust"
    ASEND = "asend"
    ASEND_ROBUST = "asend_robust"


ASYNC_METHODS: Final = frozenset({Method.ASEND, Method.ASEND_ROBUST})


class TransactionOutcome(StrEnum):
    """The ends of the transaction in which a dispatch was sent."""

    NONE = "none"
    """No transaction: autocommit."""
    COMMITTED = "committed"
    ROLLED_BACK = "rolled_back"
    SAVEPOINT_ROLLED_BACK = "savepoint_rolled_back"
    TEST = "test"
    """The surrounding transaction belongs to a TestCase and is always rolled back by it."""
    UNKNOWN = "unknown"
    """It had not ended when the trace was exported."""
