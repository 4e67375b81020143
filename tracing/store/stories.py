"""The stories of objects: the traces that touched one, newest first."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from tracing.analysis.story import dispatches_about
from tracing.instrumentation.attributes.redaction import known_as
from tracing.search.query import EVERYTHING
from tracing.store.finding import find
from tracing.store.pages import TraceSearch
from tracing.store.traces import load_all

if TYPE_CHECKING:
    from tracing.spans.records import Dispatch, Trace
    from tracing.spans.summary import TraceSummary

MOST_TRACES: Final = 20
"""Traces on a page."""
_SEARCH_SECONDS: Final = 2.5
"""No index leads to an object: the dispatches of its model are walked."""
_MOST_DISPATCHES: Final = 2_000
"""Dispatches of a trace that is told; of a larger one it is said that it touched the object."""


@dataclass(slots=True)
class Chapter:
    """A trace that touched an object."""

    summary: TraceSummary
    trace: Trace | None = None
    """None if it is too large to be told here."""
    about: list[Dispatch] = field(default_factory=list)
    """The dispatches about the object."""


@dataclass(slots=True)
class Story:
    """A page of the story of an object."""

    instance: str
    chapters: list[Chapter]
    older: str = ""
    newer: str = ""
    complete: bool = True
    """False if the time was up first: ``older`` goes on from there."""


def story(instance: str, *, before: str = "", after: str = "") -> Story:
    """Return a page of the traces that touched *instance*, newest first.

    Args:
        instance: As ``orders.Order:42``.
        before: ``older`` of a page, to get the next.
        after: ``newer`` of a page, to get the one before it.
    """
    wanted = TraceSearch(instance=instance)
    page = find(
        EVERYTHING, before=before, after=after, size=MOST_TRACES, wanted=wanted,
        seconds=_SEARCH_SECONDS,
    )  # fmt: skip
    small = [each for each in page.traces if each.dispatch_count <= _MOST_DISPATCHES]
    loaded = {trace.root_span_id: trace for trace in load_all(small)}
    names = known_as(instance)
    chapters = []
    for summary in page.traces:
        trace = loaded.get(summary.root_span_id)
        about = dispatches_about(trace, names) if trace is not None else []
        chapters.append(Chapter(summary, trace, about))
    return Story(instance, chapters, page.older, page.newer, page.complete)
