"""Tests of any project: capture, assert, and mute receivers.

Nothing here needs the database, the pipeline or the tracer's application to be installed: a
capture records into memory, for as long as its block lasts.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
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

_ELSEWHERE = {
    "dispatch_tree": "tracing.presentation.text",
    "Captured": "tracing.testing.capture",
    "capture_dispatches": "tracing.testing.capture",
    "mute": "tracing.testing.muting",
    "assert_dispatch_tree": "tracing.testing.snapshots",
}
"""The modules of what the assertions do not define."""


def __getattr__(name: str) -> Any:
    # A run of tests that is recorded asserts nothing: what draws a tree need not be loaded for it.
    if name in __all__:
        return getattr(import_module(_ELSEWHERE.get(name, "tracing.testing.assertions")), name)
    msg = f"module {__name__!r} has no attribute {name!r}"
    raise AttributeError(msg)
