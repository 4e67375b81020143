"""A trace as plain text."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tracing.analysis import tree
from tracing.analysis.names import callsite_text, receiver_text, shorten_middle
from tracing.analysis.notes import notes
from tracing.spans.records import Dispatch, Outcome
from tracing.units import format_ns, format_spent, plural, query_text

if TYPE_CHECKING:
    from tracing.spans.records import Trace


def dispatch_tree(trace: Trace, *, limit: int = 60) -> str:
    """Return *trace* as indented text, repetitions folded, at most *limit* lines of dispatches."""
    lines = [_heading(trace)]
    nodes = list(tree.flatten(tree.fold(trace)))
    lines += ["  " * (node.depth + 1) + _line(node) for node in nodes[:limit]]
    if len(nodes) > limit:
        lines.append(f"  … {plural(len(nodes) - limit, 'more line')}")
    if trace.unheard:
        heard = sorted(trace.unheard, key=lambda item: -item[2])[:8]
        unheard = ", ".join(
            f"{signal.rpartition('.')[2]} {sender} {tree.TIMES}{count}"
            for signal, sender, count in heard
        )
        more = ", …" if len(trace.unheard) > len(heard) else ""
        lines.append(f"  without receivers: {unheard}{more}")
    for note in notes(trace):
        times = f" {tree.TIMES}{note.count}" if note.count > 1 else ""
        lines.append(f"  {note.kind}{times}: {note.text}")
    return "\n".join(lines)


def _heading(trace: Trace) -> str:
    parts = [
        plural(trace.dispatch_count, "dispatch", "dispatches"),
        plural(trace.receiver_call_count, "receiver call"),
        query_text(trace.query_count),
        format_ns(trace.duration_ns),
    ]
    return f"{trace.kind} {trace.name}: {', '.join(parts)}"


def _line(node: tree.Node) -> str:
    span = node.span
    times = f"{node.count} {tree.TIMES} " if node.count > 1 else ""
    queries = f", {query_text(node.query_count)}" if node.query_count else ""
    if isinstance(span, Dispatch):
        what = f" {span.instance}" if node.count == 1 and span.instance else ""
        site = f", sent by {callsite_text(span.callsite)}" if span.callsite is not None else ""
        raised = f", raised {span.exception_type}" if span.exception_type else ""
        return f"{times}{node.label}{what}: {format_spent(node.total_ns)}{queries}{raised}{site}"
    text = f"{times}→ {receiver_text(span.receiver)}: "
    if span.outcome is Outcome.SKIPPED:
        return f"{text}skipped"
    text += f"{format_spent(node.total_ns)}{queries}"
    if span.outcome is Outcome.RAISED:
        message = shorten_middle(span.exception_message, 120)
        return f"{text}, raised {span.exception_type}({message!r})"
    return text if span.outcome is Outcome.RETURNED else f"{text}, {span.outcome}"
