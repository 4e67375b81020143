"""The story of one object in a trace: what was sent about it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tracing.analysis.index import Index

if TYPE_CHECKING:
    from collections.abc import Container, Sequence

    from tracing.spans.records import Dispatch, Trace


def dispatches_about(trace: Trace, names: Container[str]) -> list[Dispatch]:
    """Return the dispatches about an object.

    Args:
        trace: Where they are looked for.
        names: How the object may be kept, as ``orders.Order:42``.
    """
    return [dispatch for dispatch in trace.dispatches if dispatch.instance in names]


def spans_of_story(
    trace: Trace, about: Sequence[Dispatch], mine: Container[int] | None = None
) -> frozenset[int]:
    """Return the numbers of the spans that tell what *about* led to.

    The dispatches, what is above each, their receivers, what those sent and who received that; what
    lies deeper is another story.

    Args:
        trace: Where they are.
        about: Dispatches about one object.
        mine: Numbers of the spans below them that are told; None for all.
    """
    index = Index(trace)
    found: set[int] = set()
    below: set[int] = set()
    for dispatch in about:
        found.add(dispatch.number)
        found.update(span.number for span in index.above(dispatch))
        for call in dispatch.receiver_calls:
            below.add(call.number)
            for sent in index.below.sent(call):
                below.add(sent.number)
                below.update(each.number for each in sent.receiver_calls)
    return frozenset(found.union(each for each in below if mine is None or each in mine))
