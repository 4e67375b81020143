"""A trace as plain text."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tracing.analysis.names import callsite_text, receiver_text, shorten_middle
from tracing.analysis.notes import notes
from tracing.analysis.tree import TIMES
from tracing.presentation.rows import Tree
from tracing.spans.records import Outcome
from tracing.units import format_ns, format_spent, plural, query_text

if TYPE_CHECKING:
    from tracing.presentation.rows import Row
    from tracing.spans.records import Trace


def dispatch_tree(trace: Trace, *, limit: int = 60) -> str:
    """Return *trace* as indented text of at most *limit* dispatch lines."""
    lines = [_heading(trace)]
    tree = Tree(trace, max_rows=limit)
    lines += ["  " * row.level + _line(row) for row in tree.rows()]
    if tree.next_start is not None:
        lines.append(f"  … {plural(tree.count() - limit, 'more line')}")
    if trace.orphans:
        shown = sorted(trace.orphans, key=lambda item: -item[2])[:8]
        orphans = ", ".join(
            f"{signal.rpartition('.')[2]} {sender} {TIMES}{count}"
            for signal, sender, count in shown
        )
        more = ", …" if len(trace.orphans) > len(shown) else ""
        lines.append(f"  without receivers: {orphans}{more}")
    for note in notes(trace):
        times = f" {TIMES}{note.count}" if note.count > 1 else ""
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


def _line(row: Row) -> str:
    node, times = row.node, f"{row.times} " if row.times else ""
    queries = f", {query_text(node.query_count)}" if node.query_count else ""
    if (call := row.call) is None:
        site = row.dispatch.callsite if row.dispatch is not None else None
        by = f", sent by {callsite_text(site)}" if site is not None else ""
        raised = f", raised {node.span.exception_type}" if row.outcome else ""
        spent = format_spent(node.total_ns)
        return f"{times}{node.label}{row.instance}: {spent}{queries}{raised}{by}"
    text = f"{times}→ {receiver_text(call.receiver)}: "
    if call.outcome is Outcome.SKIPPED:
        return f"{text}skipped"
    text += f"{format_spent(node.total_ns)}{queries}"
    if call.outcome is Outcome.RAISED:
        message = shorten_middle(call.exception_message, 120)
        return f"{text}, raised {call.exception_type}({message!r})"
    return f"{text}, {row.outcome}" if row.outcome else text
