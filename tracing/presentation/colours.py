"""The colours of applications, the same on every page."""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING, Final
from zlib import crc32

from tracing.spans.records import ReceiverCall

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from tracing.analysis.index import Span
    from tracing.spans.records import Trace

COLOURS: Final = 8


def colours_of(apps: Iterable[str]) -> dict[str, int]:
    """Return the colour of each of *apps*: 1 to ``COLOURS``, 0 for none.

    A name has the same colour on every page, as long as no other there has taken it first.
    """
    found = {"": 0}
    free = list(range(1, COLOURS + 1))
    for app in sorted(set(apps) - {""}):
        wish = crc32(app.encode(errors="replace")) % COLOURS + 1
        if wish not in free and free:
            wish = free[0]
        if wish in free:
            free.remove(wish)
        found[app] = wish
    return found


def apps_of(trace: Trace) -> dict[str, int]:
    """Return the applications in *trace* with their colours."""
    apps = {call.receiver.app for dispatch in trace.dispatches for call in dispatch.receiver_calls}
    return colours_of(apps | {app_of(dispatch) for dispatch in trace.dispatches})


def legend_of(trace: Trace, shown: Collection[int] | None = None) -> list[tuple[str, int]]:
    """Return the applications of what is *shown*, with their colours.

    Args:
        trace: The trace.
        shown: Numbers of its spans; None for all.
    """
    dispatches: Iterable[Span] = trace.dispatches
    calls = (call for dispatch in trace.dispatches for call in dispatch.receiver_calls)
    spans = chain(dispatches, calls)
    apps = {app_of(span) for span in spans if shown is None or span.number in shown}
    return [pair for pair in apps_of(trace).items() if pair[0] in apps - {""}][: COLOURS * 2]


def app_of(span: Span) -> str:
    """Return the application of a receiver, or of a dispatch's sender."""
    if isinstance(span, ReceiverCall):
        return span.receiver.app
    label, dot, model = span.sender.partition(".")
    return label if dot and "." not in model and label.islower() else ""
