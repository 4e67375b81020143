"""Traces, hazards and comparisons as tables and trees of the terminal.

Nothing is told by colour alone: what failed says so in words, what is on the critical path carries
a mark, and a change has its sign.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from tracing.analysis import tree
from tracing.analysis.names import (
    callsite_text,
    place,
    short_receiver,
    short_signal,
    shorten_middle,
    unreadable_text,
    write_text,
)
from tracing.analysis.notes import further_notes, notes
from tracing.management.terminal import joined, table, text
from tracing.spans.records import (
    UNFINISHED,
    Dispatch,
    Kind,
    Method,
    Outcome,
    ReceiverCall,
    Status,
    TransactionOutcome,
)
from tracing.units import (
    format_count,
    format_ns,
    format_percent,
    format_spent,
    plural,
    query_text,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from rich.text import Text

    from tracing import models
    from tracing.analysis.tree import Node, ReceiverTotal
    from tracing.spans.records import SideEffect, Trace

NARROW: Final = 110
"""Below so many columns, places go onto a line of their own."""
CRITICAL: Final = "*"
"""Before what the critical path goes through."""


# --- one trace -----------------------------------------------------------------------------------


def result(row: models.Trace) -> Text:
    """Return how a trace ended, with its errors and hazards in words."""
    parts = [str(row.http_status) if row.http_status is not None else str(row.status)]
    if row.status != Status.OK and row.http_status is not None:
        parts.append(str(row.status))
    if row.error_count:
        parts.append(f"{row.error_count} raised")
    if row.hazard_count:
        parts.append(plural(row.hazard_count, "hazard"))
    failed = row.failed or row.status == Status.ERROR
    return text(", ".join(parts), "bold red" if failed else "yellow" if row.hazard_count else "")


def tail_line(row: models.Trace, started: str) -> Text:
    """Return a trace as one line."""
    return joined(
        (started, "dim"),
        f"  {format_ns(row.duration_ns):>8}  ",
        result(row),
        "  ",
        (row.name, "bold"),
        f"  {plural(row.dispatch_count, 'dispatch', 'dispatches')}, "
        f"{plural(row.receiver_call_count, 'call')}, {query_text(row.query_count)}  ",
        (row.trace_id, "dim"),
    )


def heading(trace: Trace) -> Text:
    """Return what the trace is, how it ended and how long it took."""
    parts: list[tuple[object, str] | object] = []
    if trace.kind is Kind.REQUEST and trace.http_path:
        asked = f"{trace.http_method} {trace.http_path}".strip()
        parts.append((asked, "bold"))
        if trace.name != asked:
            parts.append(f"  {trace.name.removeprefix(f'{trace.http_method} ')}")
    else:
        parts += [f"{trace.kind} ", (trace.name, "bold")]
    word = tree.status_word(trace)
    parts += ["  ", (word, "bold red" if trace.status is Status.ERROR else "bold")]
    parts += [f"  {format_ns(trace.duration_ns)}  ", (trace.address, "dim")]
    return joined(*parts)


def summary(trace: Trace) -> Text:
    """Return the counts of a trace in one line, and what was left out."""
    parts = [
        plural(trace.dispatch_count, "dispatch", "dispatches"),
        plural(trace.receiver_call_count, "receiver call"),
        f"{format_ns(trace.signal_ns)} in receivers",
        f"{query_text(trace.query_count)} in {format_ns(trace.query_ns)}",
    ]
    if trace.unheard_count:
        unheard = plural(trace.unheard_count, "dispatch", "dispatches")
        parts.append(f"{unheard} nobody received")
    if trace.excluded_count:
        parts.append(f"{plural(trace.excluded_count, 'receiver call')} left out (EXCLUDE_…)")
    if trace.dropped_count:
        parts.append(f"{plural(trace.dropped_count, 'item')} not recorded (limit reached)")
    if trace.unreadable:
        parts.append(unreadable_text(trace))
    if not trace.final:
        parts.append("still running")
    line = joined(", ".join(parts))
    for told, style in ((trace.error, "bold red"), (trace.attributes.get(UNFINISHED), "yellow")):
        if told:
            line.append("\n")
            line.append_text(text(told, style))
    return line


def trace_tree(nodes: Sequence[Node], critical: set[int], width: int, *, sql: bool = False) -> Any:
    """Return the tree of a trace as a table: what, time, own time, SQL, where.

    Args:
        nodes: Folded or not.
        critical: Numbers of the spans on the critical path.
        width: Columns of the terminal; where there are few, places get lines of their own.
        sql: Add the statements of receivers, if they were recorded.
    """
    marked = marks(nodes, critical)
    rows = [_tree_row(node, prefix, below, marked) for node, prefix, below in _with_guides(nodes)]
    # Rather places on lines of their own than names and outcomes that end in an ellipsis.
    needed = sum(
        max((len(row.cells[column]) + 2 for row in rows), default=0) for column in range(5)
    )
    narrow = width < NARROW or needed > width
    headings = ("", "time", "own time", "SQL") + (() if narrow else ("where",))
    shown = table(*headings, right=("time", "own time", "SQL"), flexible="")
    for row in rows:
        what, *numbers, where = row.cells
        shown.add_row(what, *numbers, *(() if narrow else (where,)))
        if narrow and where:
            shown.add_row(joined((f" {row.below}", "dim"), where))
        if sql and isinstance(row.span, ReceiverCall):
            for statement, count, nanoseconds in row.span.statements:
                line = f"{count} x {format_ns(nanoseconds)}  {_brief(statement)}"
                shown.add_row(joined((f" {row.below}  ", "dim"), (line, "cyan")))
    return shown


def _brief(statement: str) -> str:
    """Return a statement without the columns it selects: a line tells it by what stands behind."""
    return _COLUMNS.sub(r"\1 … FROM", statement, count=1)


_COLUMNS: Final = re.compile(r"^(SELECT(?: DISTINCT)?) [^()]*? FROM\b")
"""Up to the first FROM; within parentheses there may be one that is not the statement's own."""


@dataclass(frozen=True, slots=True)
class _TreeRow:
    span: Dispatch | ReceiverCall
    below: str
    """What leads on to the lines below."""
    cells: tuple[Text, Text, Text, Text, Text]
    """What, time, own time, SQL, where."""


def _tree_row(node: Node, prefix: str, below: str, marked: set[int]) -> _TreeRow:
    mark = CRITICAL if marked.intersection(node.numbers) else " "
    cells = (
        joined((mark, "bold magenta"), (prefix, "dim"), *_what(node)),
        text(format_spent(node.total_ns), "" if node.is_dispatch else "bold"),
        text("" if node.is_dispatch else format_spent(node.total_ns, node.self_ns)),
        text(_sql_cell(node)),
        text(_where(node), "dim"),
    )
    return _TreeRow(node.span, below, cells)


def marks(nodes: Sequence[Node], critical: set[int]) -> set[int]:
    """Return the numbers of the spans to mark: none if the path goes through everything."""
    is_everywhere = all(critical.intersection(node.numbers) for node in tree.flatten(nodes))
    return set() if is_everywhere else critical


def legend(nodes: Sequence[Node], critical: set[int]) -> Text | None:
    """Return what the mark of the critical path means; None if nothing is marked."""
    if not marks(nodes, critical):
        return None
    return joined(
        (CRITICAL, "bold magenta"),
        (" what the time went into, step by step (critical path)", "dim"),
    )


def _with_guides(nodes: Sequence[Node]) -> Iterator[tuple[Node, str, str]]:
    """Yield each node with what leads to it and what leads on below it."""
    stack = [(node, "", "") for node in reversed(nodes)]
    while stack:
        node, prefix, below = stack.pop()
        children = node.children
        yield node, prefix, below + ("│  " if children else "   ")
        for position in range(len(children) - 1, -1, -1):
            last = position == len(children) - 1
            stack.append(
                (
                    children[position],
                    below + ("└─ " if last else "├─ "),
                    below + ("   " if last else "│  "),
                )
            )


def _what(node: Node) -> list[tuple[str, str]]:
    span = node.span
    times = f" {tree.TIMES} {node.count}" if node.count > 1 else ""
    if isinstance(span, Dispatch):
        return _what_dispatch(span, node, times)
    parts = [(short_receiver(span.receiver.name), "bold")]
    if times:
        parts.append((times, "bold"))
    else:
        parts.append((f" #{span.number}", "dim"))
    if span.receiver.is_async:
        parts.append((" async", "cyan"))
    if span.outcome is Outcome.RAISED:
        # With what, is said below the tree: a dotted path and a message would push all else aside.
        parts.append(("  RAISED", "bold red"))
    elif span.outcome is not Outcome.RETURNED:
        parts.append((f"  {span.outcome.upper()}", "yellow"))
    return parts


def _what_dispatch(span: Dispatch, node: Node, times: str) -> list[tuple[str, str]]:
    parts = [(short_signal(span.signal), "cyan")]
    about = span.sender if times or not span.instance else span.instance
    if about != "None":
        parts.append((f" {about}", ""))
    if not times and (sender := tree.other_sender(span)):
        parts.append((f" from {sender}", ""))
    parts.append((times, "bold"))
    words = ", ".join(_words(span, node))
    if words:
        parts.append((f" {words}", "dim"))
    if span.transaction in _ROLLED_BACK:
        parts.append((f"  {span.transaction.upper().replace('_', ' ')}", "bold yellow"))
    if span.exception_type:
        parts.append((f"  LEFT BY {span.exception_type.rpartition('.')[2]}", "bold red"))
    return parts


def _words(span: Dispatch, node: Node) -> Iterator[str]:
    """Yield the facts that are worth a word."""
    if span.action:
        yield span.action
    if span.created is not None and node.count == 1:
        yield "created" if span.created else "updated"
    if span.raw:
        yield "raw"
    if span.method != Method.SEND:
        yield str(span.method)
    if span.parent_is_link:
        yield "later"
    if 1 < len(node.instances) <= FEW_INSTANCES:
        shown = [each.removeprefix(f"{span.sender}:") for each in sorted(node.instances)]
        yield f"of {', '.join(shown)}"
    elif len(node.instances) > 1:
        yield f"of {plural(len(node.instances), 'instance')}"


FEW_INSTANCES: Final = 3
"""Instances of a group that are named; of more it is said how many they are."""


_ROLLED_BACK: Final = frozenset(
    {TransactionOutcome.ROLLED_BACK, TransactionOutcome.SAVEPOINT_ROLLED_BACK}
)


def _sql_cell(node: Node) -> str:
    if not node.query_count:
        return ""
    return f"{format_count(node.query_count)} in {format_ns(node.query_ns)}"


def _where(node: Node) -> str:
    span = node.span
    if isinstance(span, ReceiverCall):
        return place(span.receiver.file, span.receiver.line)
    if span.callsite is None:
        return ""
    return f"{place(span.callsite.file, span.callsite.line)} {span.callsite.function}"


def extras(trace: Trace, *, everything: bool = False) -> Iterator[Text]:
    """Yield lines for what is not in the tree: messages, bypasses, mail, tasks, the dead.

    With *everything* also changes of receivers and the dispatches that had none.
    """
    calls = {call.number: call for each in trace.dispatches for call in each.receiver_calls}
    for call in calls.values():
        if call.outcome is Outcome.RAISED:
            name = f"{short_receiver(call.receiver.name)} #{call.number}"
            message = shorten_middle(call.exception_message, 200)
            error = f"{call.exception_type}: {message}" if message else call.exception_type
            yield joined(("raised: ", "bold red"), f"{name}: {error}")
    for bypass in trace.bypasses:
        names = ", ".join(short_receiver(label.name) for label in bypass.receivers)
        yield joined(
            ("bypass: ", "yellow"),
            f"{write_text(bypass.operation)} of {bypass.model} at {callsite_text(bypass.callsite)} did not "
            f"reach {names}",
        )
    for line, count in Counter(_effect(effect, calls) for effect in trace.side_effects).items():
        kind, said = line
        times = f" {tree.TIMES} {count}" if count > 1 else ""
        yield joined((f"{kind}{times}: ", "yellow"), said)
    for lost, count in tree.lost_receivers(trace):
        times = f" {tree.TIMES} {count}" if count > 1 else ""
        yield joined(
            (f"lost{times}: ", "bold red"),
            f"{lost.receiver.name} does not receive {short_signal(lost.signal)} any more",
        )
    for note in (*notes(trace), *(further_notes(trace) if everything else ())):
        times = f" {tree.TIMES} {format_count(note.count)}" if note.count > 1 else ""
        yield joined((f"{note.kind}{times}: ", "yellow"), note.text)


def _effect(effect: SideEffect, calls: Mapping[int, ReceiverCall]) -> tuple[str, str]:
    """Return the kind of a side effect, and what it was, who did it and in which transaction."""
    call = calls.get(effect.parent_number) if effect.parent_number is not None else None
    by = f" by {short_receiver(call.receiver.name)}" if call is not None else ""
    site = effect.callsite
    at = f" at {place(site.file, site.line)}" if site is not None else ""
    if effect.in_on_commit:
        when = "after the commit"
    elif effect.transaction is TransactionOutcome.NONE:
        when = "in no transaction"
    else:
        when = f"transaction {effect.transaction.replace('_', ' ')}"
    if effect.ran_at_once_on:
        of = f"on_commit() of {effect.ran_at_once_on!r}, which had none, ran it at once"
        when = f"{when}; {of}" if not effect.using else f"{when} on {effect.using!r}; {of}"
    return effect.kind, f"{effect.target}{by}{at} ({when})"


def totals(found: Sequence[ReceiverTotal], width: int) -> Any:
    """Return what each receiver cost in a trace; in a narrow terminal the tree alone has places."""
    numbers = ("own time", "share", "calls", "in all", "longest", "SQL", "errors")
    narrow = width < NARROW
    shown = table(*numbers, "receiver", *(() if narrow else ("where",)), right=numbers)
    for total in found:
        shown.add_row(
            text(format_spent(total.total_ns, total.self_ns), "bold"),
            text(format_percent(total.share)),
            text(format_count(total.calls)),
            text(format_spent(total.total_ns)),
            text(format_spent(total.max_ns)),
            text(format_count(total.query_count)),
            count_of_errors(total.error_count),
            text(short_receiver(total.name), "bold"),
            *(() if narrow else (text(place(total.file, total.line), "dim"),)),
        )
    return shown


def count_of_errors(count: int) -> Text:
    """Return a number of errors, which stands out unless it is 0."""
    return text(format_count(count), "bold red" if count else "")
