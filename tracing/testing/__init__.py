"""Tests of any project: capture, assert, and mute receivers.

Nothing here needs the database, the pipeline or the tracer's application to be installed: a
capture records into memory, for as long as its block lasts.
"""

from __future__ import annotations

from tracing.presentation.text import dispatch_tree
from tracing.testing.assertions import (
    DispatchAssertions,
    assert_dispatch_budget,
    assert_dispatched,
    assert_no_hazards,
    assert_not_dispatched,
    assert_not_received,
    assert_received,
)
from tracing.testing.capture import Captured, capture_dispatches
from tracing.testing.muting import mute
from tracing.testing.snapshots import assert_dispatch_tree

__all__ = [
    "Captured",
    "DispatchAssertions",
    "assert_dispatch_budget",
    "assert_dispatch_tree",
    "assert_dispatched",
    "assert_no_hazards",
    "assert_not_dispatched",
    "assert_not_received",
    "assert_received",
    "capture_dispatches",
    "dispatch_tree",
    "mute",
]
