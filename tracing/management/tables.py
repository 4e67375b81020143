"""Traces, hazards and comparisons as tables and trees of the terminal.

Nothing is told by colour alone: what failed says so in words, what is on the critical path carries
a mark, and a change has its sign.
"""

from __future__ import annotations

import re
from collections import Counter
from typing import TYPE_CHECKING, Final, TypeVar

from tracing.analysis import tree
from tracing.analysis.index import lost_receivers, status_word
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
from tracing.analysis.time_split import split_time
from tracing.management.layout import width_of
from tracing.management.terminal import joined, stacked, table, text
from tracing.presentation.columns import COLUMNS
from tracing.spans.records import (
    UNFINISHED,
    Kind,
    Outcome,
    ReceiverCall,
    Status,
    TransactionOutcome,
)
from tracing.units import format_count, format_ns, format_percent, format_spent, plural, query_text

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence

    from tracing.analysis.totals import ReceiverTotal
    from tracing.analysis.tree import Node
    from tracing.management.layout import Table, Text
    from tracing.presentation.rows import Row
    from tracing.spans.records import SideEffect, Trace
    from tracing.spans.summary import TraceSummary

NARROW: Final = 110
"""Below so many columns, places go onto a line of their own."""
TIME, SELF, WHERE = (COLUMNS[key].lower() for key in ("duration", "self", "where"))
SPLIT: Final = tuple(COLUMNS[key].lower() for key in ("cpu", "waiting"))
CRITICAL: Final = "*"
"""Before what the critical path goes through."""


# --- one trace -----------------------------------------------------------------------------------


def result(row: TraceSummary) -> Text:
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


def tail_line(row: TraceSummary, started: str) -> Text:
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
    word = status_word(trace)
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
    if trace.orphan_count:
        one, more = "dispatch without receivers", "dispatches without receivers"
        parts.append(plural(trace.orphan_count, one, more))
    if trace.excluded_count:
        parts.append(f"{plural(trace.excluded_count, 'receiver call')} left out (EXCLUDE_…)")
    if trace.dropped_count:
        parts.append(f"{plural(trace.dropped_count, 'item')} not recorded (limit reached)")
    if trace.unreadable:
        parts.append(unreadable_text(trace))
    if not trace.final:
        parts.append("still running")
    unfinished = trace.attributes.get(UNFINISHED)
    told = [text(trace.error, "bold red")] if trace.error else []
    told += [text(unfinished, "yellow")] if unfinished else []
    return stacked(text(", ".join(parts)), *told)


def trace_tree(rows: Sequence[Row], width: int, *, sql: bool = False) -> Table:
    """Return the tree of a trace as a table.

    Args:
        rows: Its rows, folded or not.
        width: Columns of the terminal; where there are few, places get lines of their own.
        sql: Add the statements of receivers, if they were recorded.
    """
    has_marks = marks(rows)
    splits = [split_time(row.node.spans or [row.span]) for row in rows]
    reads_cpu = any(splits)
    lines = []
    guided = guides([(row.level, row.has_children) for row in rows])
    for row, (prefix, below), split in zip(rows, guided, splits, strict=True):
        divided = (split.cpu_ns, split.waiting_ns) if split is not None else (None, None)
        cells = _cells(row, prefix, is_marked=has_marks and row.is_critical)
        more = [text(_split_text(each)) for each in divided] if reads_cpu else []
        lines.append((row, below, (*cells[:3], *more, *cells[3:])))
    # Rather places on lines of their own than names and outcomes that end in an ellipsis.
    needed = sum(
        max((width_of(cells[column].plain) + 2 for _, _, cells in lines), default=0)
        for column in range(7 if reads_cpu else 5)
    )
    narrow = width < NARROW or needed > width
    numbers = (TIME, SELF, *(SPLIT if reads_cpu else ()), "SQL")
    shown = table("", *numbers, *(() if narrow else (WHERE,)), right=numbers, flexible="")
    for row, below, cells in lines:
        what, *counts, where = cells
        shown.add_row(what, *counts, *(() if narrow else (where,)))
        if narrow and where:
            shown.add_row(joined((f" {below}", "dim"), where))
        for statement, count, nanoseconds in row.call.statements if sql and row.call else ():
            line = f"{count} x {format_ns(nanoseconds)}  {_brief(statement)}"
            shown.add_row(joined((f" {below}  ", "dim"), (line, "cyan")))
    return shown


def _brief(statement: str) -> str:
    """Return a statement without the columns it selects."""
    return _COLUMNS.sub(r"\1 … FROM", statement, count=1)


_COLUMNS: Final = re.compile(r"^(SELECT(?: DISTINCT)?) [^()]*? FROM\b")
"""Up to the first FROM; within parentheses there may be one that is not the statement's own."""


def _cells(row: Row, prefix: str, *, is_marked: bool) -> tuple[Text, ...]:
    """Return what, time, self time, SQL, where."""
    node = row.node
    return (
        joined((CRITICAL if is_marked else " ", "bold magenta"), (prefix, "dim"), *_what(row)),
        text(format_spent(node.total_ns), "bold" if row.call else ""),
        text(format_spent(node.total_ns, node.self_ns) if row.call else ""),
        text(_sql_cell(node)),
        text(_where(row), "dim"),
    )


def marks(rows: Sequence[Row]) -> bool:
    """Return whether the critical path leaves any row out, and is marked."""
    return not all(row.is_critical for row in rows)


def legend(rows: Sequence[Row]) -> Text | None:
    """Return what the mark of the critical path means; None without marks."""
    if not marks(rows):
        return None
    return joined(
        (CRITICAL, "bold magenta"),
        (" what the time went into, step by step (critical path)", "dim"),
    )


def guides(rows: Sequence[tuple[int, bool]]) -> list[tuple[str, str]]:
    """Return what leads to each row of a tree, and what leads on below it.

    Args:
        rows: The level of each, from 1, and whether anything is below it.
    """
    found = []
    # Levels on which another row comes, seen from the end.
    going_on: set[int] = set()
    for level, is_parent in reversed(rows):
        is_last = level not in going_on
        going_on = {each for each in going_on if each < level} | {level}
        above = "".join("│  " if each in going_on else "   " for each in range(2, level))
        prefix, below = ("", "") if level == 1 else ("└─ ", "   ") if is_last else ("├─ ", "│  ")
        found.append((above + prefix, f"{above}{below}{'│  ' if is_parent else '   '}"))
    return found[::-1]


def _what(row: Row) -> list[tuple[str, str]]:
    parts = [(row.node.label, "bold" if row.call else "cyan"), (row.instance, "")]
    if row.node.count > 1:
        parts.append((f" {tree.TIMES} {row.node.count}", "bold"))
    elif row.call is not None:
        parts.append((f" #{row.number}", "dim"))
    if row.badges:
        parts.append((f" {', '.join(row.badges)}", "cyan" if row.call else "dim"))
    if row.undone:
        parts.append((f"  {row.undone.upper()}", "bold yellow"))
    if row.outcome:
        # With what a receiver raised is said below: a message would push all else aside.
        what = row.dispatch.exception_type.rpartition(".")[2] if row.dispatch else ""
        style = "bold red" if row.outcome == Outcome.RAISED else "yellow"
        parts.append((f"  {row.outcome.upper()} {what}".rstrip(), style))
    return parts


def _sql_cell(node: Node) -> str:
    if not node.query_count:
        return ""
    return f"{format_count(node.query_count)} in {format_ns(node.query_ns)}"


def _where(row: Row) -> str:
    site = row.dispatch.callsite if row.dispatch is not None else None
    return f"{row.where} {site.function}" if site is not None else row.where


def extras(trace: Trace, *, everything: bool = False) -> Iterator[Text]:
    """Yield what is not in the tree: messages, bypasses, side effects.

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
    for lost, count in lost_receivers(trace):
        times = f" {tree.TIMES} {count}" if count > 1 else ""
        yield joined(
            (f"lost{times}: ", "bold red"),
            f"{lost.receiver.name} does not receive {short_signal(lost.signal)} any more",
        )
    for note in (*notes(trace), *(further_notes(trace) if everything else ())):
        times = f" {tree.TIMES} {format_count(note.count)}" if note.count > 1 else ""
        yield joined((f"{note.kind}{times}: ", "yellow"), note.text)


def _effect(effect: SideEffect, calls: Mapping[int, ReceiverCall]) -> tuple[str, str]:
    """Return a side effect's kind; and what it was, with place and time."""
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


def totals(found: Sequence[ReceiverTotal], width: int) -> Table:
    """Return what each receiver cost in a trace; places if there is room."""
    cpu, waiting = SPLIT
    columns: dict[str, Callable[[ReceiverTotal], str | Text]] = {
        SELF: lambda total: text(format_spent(total.total_ns, total.self_ns), "bold"),
        cpu: lambda total: _split_text(total.cpu_ns),
        waiting: lambda total: _split_text(total.waiting_ns),
        "share": lambda total: format_percent(total.share),
        "calls": lambda total: format_count(total.calls),
        TIME: lambda total: format_spent(total.total_ns),
        "longest": lambda total: format_spent(total.max_ns),
        "SQL": lambda total: format_count(total.query_count),
        "errors": lambda total: count_of_errors(total.error_count),
        "receiver": lambda total: text(short_receiver(total.name), "bold"),
        WHERE: lambda total: text(place(total.file, total.line), "dim"),
    }
    hidden = {WHERE} if width < NARROW else set[str]()
    hidden |= {*SPLIT} if all(total.cpu_ns is None for total in found) else set()
    return of_columns(columns, found, hidden, left={"receiver", WHERE})


_Told = TypeVar("_Told")


def of_columns(
    columns: Mapping[str, Callable[[_Told], str | Text]],
    rows: Iterable[_Told],
    hidden: Container[str],
    left: Container[str],
) -> Table:
    """Return *rows* as a table of the *columns* that are not *hidden*.

    Args:
        columns: What makes the cell of a row, by heading.
        rows: What is told of.
        hidden: Headings that are left out.
        left: Headings of text; the other columns are aligned to the right.
    """
    cells = {heading: cell for heading, cell in columns.items() if heading not in hidden}
    shown = table(*cells, right=tuple(heading for heading in cells if heading not in left))
    for row in rows:
        shown.add_row(*(joined(cell(row)) for cell in cells.values()))
    return shown


def _split_text(nanoseconds: int | None) -> str:
    return "" if nanoseconds is None else format_ns(nanoseconds)


def count_of_errors(count: int) -> Text:
    """Return a number of errors, which stands out unless it is 0."""
    return text(format_count(count), "bold red" if count else "")
