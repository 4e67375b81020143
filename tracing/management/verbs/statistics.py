"""The verb ``stats``: what receivers and dispatches cost over time."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tracing.analysis.names import short_receiver, signal_of
from tracing.management import tables
from tracing.management.terminal import text
from tracing.management.verbs.base import (
    NOT_FOUND,
    Run,
    Verb,
    add_everything,
    add_format,
    add_period,
    fail,
    hidden_line,
    positive,
    require_store,
)
from tracing.presentation.documents import statistics_document
from tracing.store import statistics
from tracing.units import format_count, format_ns, format_spent

if TYPE_CHECKING:
    from argparse import ArgumentParser
    from collections.abc import Callable

    from tracing.analysis.histogram import Statistics
    from tracing.management.layout import Text


_ORDERS = ("total_ns", "count", "error_count", "query_count", "query_ns", "cpu_ns")


def _stats_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--by", choices=["receiver", "dispatch", "call"], default="receiver")
    parser.add_argument("--order", choices=_ORDERS, default="total_ns")
    parser.add_argument("--limit", type=positive, default=25, help="rows (default 25)")
    add_period(parser)
    add_everything(parser)
    add_format(parser)


def _stats(run: Run) -> int:
    require_store()
    options = run.options
    chosen = statistics.by(
        options["by"], since_ns=options["since"], until_ns=options["until"],
        order_by=f"-{options['order']}", limit=options["limit"], everything=run.shows_everything,
    )  # fmt: skip
    found = chosen.rows
    if run.as_json:
        run.terminal.json([statistics_document(each) for each in found])
        return 0
    if not found:
        raise fail("There are no statistics for that time yet.", NOT_FOUND)
    narrow = run.terminal.width < tables.NARROW
    by = options["by"]
    columns: dict[str, Callable[[Statistics], str | Text]] = {
        "count": lambda each: format_count(each.count),
        "errors": lambda each: tables.count_of_errors(each.error_count),
        "total": lambda each: text(format_spent(each.total_ns), "bold"),
        "mean": lambda each: format_spent(each.total_ns, each.mean_ns),
        "p50": lambda each: format_spent(each.total_ns, each.p50_ns),
        "p95": lambda each: format_spent(each.total_ns, each.p95_ns),
        "p99": lambda each: format_spent(each.total_ns, each.p99_ns),
        "SQL": lambda each: format_count(each.query_count),
        "SQL time": lambda each: format_ns(each.query_ns),
        "CPU": lambda each: "-" if each.cpu_ns is None else format_ns(each.cpu_ns),
        by: lambda each: _name(each, is_short=narrow),
    }
    hidden = {"p50", "p95", "p99"} if narrow else set[str]()
    hidden |= {"CPU"} if all(each.cpu_ns is None for each in found) else set()
    shown = tables.of_columns(columns, found, hidden, left={by})
    if chosen.heading:
        run.terminal.say((chosen.heading, "bold"))
    run.terminal.print(shown)
    if chosen.note:
        run.terminal.print(hidden_line(chosen.note))
    return 0


def _name(each: Statistics, *, is_short: bool) -> str:
    name = short_receiver(each.receiver) if is_short else each.receiver
    if not each.signal:
        return name
    what = signal_of(each.signal, each.sender)
    return f"{what}: {name}" if name else what


VERBS = (
    Verb(
        "stats",
        "what receivers and dispatches cost over time",
        _stats_arguments,
        _stats,
        "Counts, percentiles (within 2 %) and SQL per receiver, by the hour: they outlive traces.",
    ),
)
