"""Reports of many traces as text: hazards, wiring, comparisons."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from tracing.analysis.names import place, short_receiver
from tracing.management.tables import NARROW, of_columns
from tracing.management.terminal import joined, stacked, table, text
from tracing.units import format_count, format_difference, format_percent, format_spent, plural

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from tracing.analysis.comparison import Change
    from tracing.analysis.regression import Regression, Sample
    from tracing.analysis.wiring import Route, WiredReceiver
    from tracing.management.layout import Table, Text
    from tracing.spans.records import Hazard

STYLES: Final = {"error": "bold red", "warning": "yellow", "info": "cyan"}


def hazards(found: Iterable[Hazard], seen: dict[str, int] | None = None) -> Text:
    """Return hazards for reading, with evidence and remedy.

    Args:
        found: One hazard for each fingerprint.
        seen: In how many traces each fingerprint was found.
    """
    told = []
    for hazard in found:
        times = (seen or {}).get(hazard.fingerprint, 1)
        spans = ", ".join(f"#{number}" for number in hazard.numbers[:8])
        told += [
            joined(
                (f"{hazard.severity.upper():<7} ", STYLES.get(hazard.severity, "")),
                (hazard.hazard, "bold"),
                (f"  in {plural(times, 'trace')}" if times > 1 else "", "dim"),
                (f"  known: {hazard.known}" if hazard.known else "", "dim"),
            ),
            text(f"  {hazard.message}"),
            text(f"  remedy: {hazard.remedy}", "dim"),
        ]
        if hazard.trace_id:
            address = f"  trace {hazard.trace_id}/{hazard.root_span_id}"
            told.append(text(f"{address}, spans {spans}" if spans else address, "dim"))
    return stacked(*told)


def wiring(routes: Sequence[Route], seen: dict[str, int] | None) -> Text:
    """Return the wiring by signal and sender, receivers in calling order."""
    lines = []
    for route in routes:
        of = "any sender" if route.sender == "None" else route.sender
        lines.append(joined((route.signal, "cyan"), " from ", (of, "bold")))
        if route.own_send:
            note = f"  NOT RECORDED: {route.own_send} calls its receivers itself"
            lines.append(text(note, "bold red"))
        lines += [
            _connection_line(route, position, connection, seen)
            for position, connection in enumerate(route.connections, 1)
        ]
    return stacked(*lines)


def _connection_line(
    route: Route, position: int, connection: WiredReceiver, seen: dict[str, int] | None
) -> Text:
    label = connection.receiver
    words = ["weak" if label.weak else "strong", "async" if label.is_async else "sync"]
    if label.dispatch_uid:
        words.append(f"uid {label.dispatch_uid}")
    if label.any_sender and route.sender != "None":
        words.append("any sender")
    wrong = []
    if not connection.alive:
        wrong.append("  DEAD")
    elif connection.kept_by_debug:
        wrong.append("  KEPT ALIVE BY DEBUG ONLY")
    if connection.unawaited:
        wrong.append("  NEVER AWAITED")
    if connection.duplicate_of is not None:
        wrong.append(f"  DUPLICATE OF {connection.duplicate_of + 1}")
    line = joined(
        f"  {position:>2}. ",
        (label.name, "bold" if connection.alive else "bold red"),
        f"  {', '.join(words)}",
        (f"  {place(label.file, label.line)}", "dim"),
        (f"  [{label.app}]" if label.app else "", "dim"),
        ("".join(wrong), "bold red"),
    )
    if seen is not None and connection.alive:
        calls = seen.get(label.name, 0)
        seen_text = f"  {plural(calls, 'call')}" if calls else "  never seen"
        line.append(text(seen_text, "" if calls else "yellow"))
    return line


def regressions(found: Sequence[Regression], width: int) -> Table:
    """Return two periods compared, a receiver per row.

    Columns in which there is nothing to see are left out.
    """
    narrow = width < NARROW
    columns: dict[str, Callable[[Regression], str | Text]] = {
        "verdict": _verdict,
        "calls": lambda each: _pair(each, lambda sample: format_count(sample.count)),
        "before": lambda each: _spent(each.before),
        "after": lambda each: _spent(each.after),
        "change": _change,
        "SQL": lambda each: _pair(each, lambda sample: f"{sample.queries_per_call:.1f}"),
        "errors": lambda each: _pair(each, lambda sample: format_percent(sample.error_share)),
        "p": _p_text,
        "receiver": lambda each: short_receiver(each.receiver) if narrow else each.receiver,
    }
    nothing = {"SQL": "0.0", "errors": format_percent(0), "p": "-"}
    hidden = {
        heading
        for heading, empty in nothing.items()
        if {each for one in found for each in str(columns[heading](one)).split(f" {ARROW} ")}
        <= {empty, "-"}
    }
    return of_columns(columns, found, hidden, left={"verdict", "receiver"})


def _verdict(found: Regression) -> Text:
    return text(", ".join(found.verdicts) or "the same", "bold red" if found.is_worse else "")


def _spent(sample: Sample | None) -> str:
    return format_spent(sample.total_ns, sample.median_ns) if sample else "-"


def _change(found: Regression) -> str:
    old, new = found.before, found.after
    return format_difference(new.median_ns - old.median_ns) if old and new else ""


def _p_text(found: Regression) -> str:
    tested = (found.p_time, found.p_queries, found.p_errors)
    p = min((p for p in tested if p is not None), default=None)
    if p is None:
        return "-"
    return "<0.001" if p < 0.001 else f"{p:.3f}"  # noqa: PLR2004 - less is not worth digits.


def _pair(found: Regression, show: Callable[[Sample], str]) -> str:
    samples = (found.before, found.after)
    return f" {ARROW} ".join(show(sample) if sample else "-" for sample in samples)


ARROW: Final = "\u2192"

_SIGNS: Final = {"appeared": "+", "vanished": "-", "moved": "~"}


def comparison(changes: Iterable[Change]) -> Table:
    """Return *changes* between two traces, by places of their trees."""
    numbers = ("time", "SQL")
    shown = table("", "change", *numbers, "what", right=numbers)
    for change in changes:
        sign = next((_SIGNS[word] for word in change.verdicts if word in _SIGNS), " ")
        words = ", ".join(change.verdicts)
        if change.moved_from:
            words += f" from {change.moved_from}"
        worse = {"slower", "more SQL", "more errors"} & set(change.verdicts)
        queries = change.difference_queries
        shown.add_row(
            text(sign),
            text(words, "bold red" if worse else "bold" if words else "dim"),
            text(format_difference(change.difference_ns)),
            text(f"{queries:+d}" if queries else ""),
            text(f"{'   ' * change.depth}{change.label}"),
        )
    return shown
