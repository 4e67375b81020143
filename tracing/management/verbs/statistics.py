"""The verb ``stats``: what receivers and dispatches cost over time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tracing.analysis.names import short_receiver, signal_of
from tracing.management import tables
from tracing.management.terminal import table, text
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
from tracing.store import statistics
from tracing.units import format_count, format_ns, format_spent

if TYPE_CHECKING:
    from argparse import ArgumentParser

    from tracing.analysis.histogram import Statistics

_ORDERS = ("total_ns", "count", "error_count", "query_count", "query_ns", "cpu_ns")


def _stats_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--by", choices=["receiver", "dispatch", "call"], default="receiver")
    parser.add_argument("--order", choices=_ORDERS, default="total_ns")
    parser.add_argument("--limit", type=positive, default=25, help="rows (default 25)")
    add_period(parser)
    add_everything(parser)
    add_format(parser)


def statistics_record(found: Statistics) -> dict[str, Any]:
    """Return statistics as a JSON object; what they are not about is null."""
    return {
        "signal": found.signal or None,
        "sender": found.sender or None,
        "receiver": found.receiver or None,
        "count": found.count,
        "error_count": found.error_count,
        "total_ns": found.total_ns,
        "mean_ns": found.mean_ns if found.total_ns else None,
        "p50_ns": found.p50_ns if found.total_ns else None,
        "p95_ns": found.p95_ns if found.total_ns else None,
        "p99_ns": found.p99_ns if found.total_ns else None,
        "query_count": found.query_count,
        "query_ns": found.query_ns,
        "cpu_ns": found.cpu_ns,
    }


def _stats(run: Run) -> int:
    require_store()
    options = run.options
    chosen = statistics.by(
        options["by"], since_ns=options["since"], until_ns=options["until"],
        order_by=f"-{options['order']}", limit=options["limit"], everything=run.shows_everything,
    )  # fmt: skip
    found = chosen.rows
    if run.as_json:
        run.terminal.json([statistics_record(each) for each in found])
        return 0
    if not found:
        raise fail("There are no statistics for that time yet.", NOT_FOUND)
    narrow = run.terminal.width < tables.NARROW
    cpu = ("CPU",) if any(each.cpu_ns is not None for each in found) else ()
    spread = ("p50", "p95", "p99")
    numbers = (
        "count",
        "errors",
        "total",
        "mean",
        *(() if narrow else spread),
        "SQL",
        "SQL time",
        *cpu,
    )
    shown = table(*numbers, options["by"], right=numbers, flexible=options["by"])
    for each in found:
        name = short_receiver(each.receiver) if narrow else each.receiver
        if each.signal:
            what = signal_of(each.signal, each.sender)
            name = f"{what}: {name}" if name else what
        shown.add_row(
            text(format_count(each.count)),
            tables.count_of_errors(each.error_count),
            text(format_spent(each.total_ns), "bold"),
            text(format_spent(each.total_ns, each.mean_ns)),
            *(
                text(format_spent(each.total_ns, nanoseconds))
                for nanoseconds in (each.p50_ns, each.p95_ns, each.p99_ns)
                if not narrow
            ),
            text(format_count(each.query_count)),
            text(format_ns(each.query_ns)),
            *(text("-" if each.cpu_ns is None else format_ns(each.cpu_ns)) for _ in cpu),
            text(name),
        )
    if chosen.heading:
        run.terminal.print(text(chosen.heading, "bold"))
    run.terminal.print(shown)
    if chosen.note:
        run.terminal.print(hidden_line(chosen.note))
    return 0


VERBS = (
    Verb(
        "stats",
        "what receivers and dispatches cost over time",
        _stats_arguments,
        _stats,
        "Counts, percentiles (within 2 %) and SQL per receiver, by the hour: they outlive traces.",
    ),
)
