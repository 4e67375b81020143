"""The panel's copy of a trace, small enough for the toolbar's stores.

The toolbar may keep it in memory, in a cache or in a database, and gives it back as JSON would. So the
trace is in it as one text, which the codec wrote, beside the few words that the side bar shows.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, TypeAlias

from msgspec.structs import replace

from tracing.analysis import tree
from tracing.analysis.mine import spans_of_mine
from tracing.analysis.names import shorten_middle
from tracing.spans.codec import pack
from tracing.units import format_ns, plural

if TYPE_CHECKING:
    from tracing.analysis.tree import Node
    from tracing.spans.records import Trace

Json: TypeAlias = dict[str, Any]

VERSION: Final = 2
"""Of the layout below; what another version stored is not shown."""
MAX_ROWS: Final = 600
"""Rows of the tree that are kept."""
MAX_BYTES: Final = 800_000
"""Size of the trace as text."""
_LISTS: Final = (
    *("bypasses", "orphans", "side_effects", "lost_receivers", "connection_changes"),
    *("missed_receivers", "waiting_callbacks", "hazards"),
)


def describe(trace: Trace, *, max_rows: int = MAX_ROWS, max_bytes: int = MAX_BYTES) -> Json:
    """Return what the toolbar keeps of *trace*, which was diagnosed.

    If there are more than *max_rows* rows, repetitions folded, or more than *max_bytes*, the quickest
    dispatches of those that did not fail are left out, and counted.
    """
    alone = replace(trace, diagnosis_context=None, known_hazards=[])
    kept, left_out = cut(alone, max_rows)
    packed = pack(kept)
    while len(packed) > max_bytes and max_rows > 1:
        max_rows //= 2
        kept, left_out = cut(alone, max_rows)
        packed = pack(kept)
    return {
        "version": VERSION,
        "trace_id": trace.trace_id,
        "started_ns": trace.started_ns,
        "arrival_key": trace.arrival_key,
        "redirect_key": trace.redirect_key,
        "trace": packed,
        "left_out": left_out,
        "mark": "⚠" if trace.hazards else "✕" if trace.error_count else "",
        "subtitle": subtitle(trace),
    }


def subtitle(trace: Trace) -> str:
    """Return the line of the side bar, with what is wrong first."""
    dispatches = plural(trace.dispatch_count, "dispatch", "dispatches")
    receivers = plural(trace.receiver_call_count, "receiver")
    parts = [f"{dispatches}, {receivers} in {format_ns(trace.signal_ns)}"]
    if trace.error_count:
        parts.insert(0, f"{trace.error_count} raised")
    if trace.hazards:
        parts.insert(0, plural(len(trace.hazards), "hazard"))
    mine = spans_of_mine(trace)
    calls = [call for each in trace.dispatches for call in each.receiver_calls if call.was_called]
    own = [call for call in calls if call.number in mine] or calls
    if own:
        worst = max(own, key=lambda call: call.self_ns)
        label = shorten_middle(tree.label(worst), 28)
        parts.append(f"worst {label} {format_ns(worst.self_ns)}")
    return " · ".join(parts)


def cut(trace: Trace, max_rows: int) -> tuple[Trace, int]:
    """Return *trace* cut to *max_rows* rows, and what is left out.

    Kept are those that failed, then the longest, and all above them, each with its receiver calls.
    """
    lists = {name: getattr(trace, name)[:max_rows] for name in _LISTS}
    left_out = sum(len(getattr(trace, name)) - len(found) for name, found in lists.items())
    dispatches = _kept(trace, max_rows)
    kept = [each for each in trace.dispatches if each.number in dispatches]
    left_out += sum(
        1 + len(each.receiver_calls) for each in trace.dispatches if each.number not in dispatches
    )
    return replace(trace, dispatches=kept, **lists), left_out


def _kept(trace: Trace, max_rows: int) -> set[int]:
    """Return the numbers of the dispatches that *max_rows* rows have room for."""
    nodes = [node for node in tree.flatten(tree.fold(trace)) if node.is_dispatch]
    above = {id(sent): node for node in nodes for call in node.children for sent in call.children}
    failed = {
        id(node) for node in nodes if any(each.error_count for each in (node, *node.children))
    }
    ranked = sorted(nodes, key=lambda node: (id(node) not in failed, -node.total_ns))
    chosen: dict[int, Node] = {}
    rows = 0
    for node in ranked:
        chain: list[Node] = []
        link: Node | None = node
        while link is not None and id(link) not in chosen:
            chain.append(link)
            link = above.get(id(link))
        # Of a chain that is longer than what is left, the upper part.
        for each in reversed(chain):
            rows += 1 + len(each.children)
            if rows > max_rows and chosen:
                return {number for found in chosen.values() for number in found.numbers}
            chosen[id(each)] = each
    return {number for found in chosen.values() for number in found.numbers}
