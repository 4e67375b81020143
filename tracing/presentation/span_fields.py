"""The fields of a span, each with label and text, for all faces."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from msgspec import Struct

from tracing.analysis.critical_path import self_ns
from tracing.analysis.names import place, signal_of
from tracing.analysis.time_split import split_time
from tracing.search.parser import quoted
from tracing.spans.records import Dispatch, Outcome, TransactionOutcome
from tracing.units import format_ns, format_percent, format_spent, plural, query_text

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from tracing.analysis.index import Index, Span
    from tracing.analysis.tree import Node
    from tracing.presentation.links import Links
    from tracing.spans.records import ReceiverCall, ReceiverLabel, Trace

MAX_INSTANCES: Final = 12
"""Instances of folded spans that are named one by one."""


class Field(Struct):
    """One fact of a span."""

    label: str
    text: str
    file: str = ""
    """What it names can be opened in an editor."""
    line: int = 0
    number: int | None = None
    """The span that it names."""
    search: str = ""
    """What finds the traces that have it, too."""
    is_code: bool = False
    """It is a name to be copied."""
    is_warning: bool = False
    address: str = ""
    """What it links to, where it does."""


def linked(fields: Iterable[Field], links: Links) -> list[Field]:
    """Return *fields* with the addresses of what they name."""
    found = list(fields)
    for field in found:
        if field.file:
            field.address = links.editor(field.file, field.line)
        elif field.number is not None:
            field.address = links.span(field.number)
        elif field.search:
            field.address = links.search(field.search)
    return found


def span_fields(index: Index, span: Span, node: Node | None = None) -> Iterator[Field]:
    """Yield what is known of *span* itself, which stands for all of *node*."""
    if isinstance(span, Dispatch):
        yield Field("Signal", span.signal, is_code=True)
        yield Field("Sender", span.sender, is_code=True)
        yield from _cost(index.trace, span, node, "Queries, all below")
        yield from dispatch_fields(index.trace, span, node)
        return
    yield Field("Receiver", span.receiver.name, is_code=True)
    file, line = span.receiver.file, span.receiver.line
    yield Field("Defined", place(file, line) or "unknown", file, line, is_code=True)
    yield Field("Outcome", _outcome_text(span))
    yield from _cost(index.trace, span, node, "Queries of its own")
    yield from _call_fields(span)
    dispatch = index.dispatch_of(span)
    text = signal_of(dispatch.signal, dispatch.sender)
    yield Field("Dispatch", text, number=dispatch.number)


def _cost(trace: Trace, span: Span, node: Node | None, queries: str) -> Iterator[Field]:
    total, own = span.duration_ns, self_ns(span)
    count, query_ns = span.query_count, span.query_ns
    if node is not None:
        total, own = node.total_ns, node.self_ns
        count, query_ns = node.query_count, node.query_ns
    if total or isinstance(span, Dispatch) or span.is_timed:
        share = format_percent(min(total / (trace.duration_ns or 1), 1.0))
        parts = [f"{format_spent(total)} ({share} of the trace)"]
        parts.append(f"self time {format_spent(total, own)}")
        if node is not None and node.count > 1:
            parts += [f"{format_ns(node.mean_ns)} on average", f"longest {format_ns(node.max_ns)}"]
        else:
            parts.append(f"from {format_ns(span.start_ns)} on")
        yield Field("Time", ", ".join(parts))
    # Folded dispatches have several receivers each, which say it themselves.
    if (split := split_time([span] if node is None else node.spans or [span])) is not None:
        parts = [f"{format_ns(split.cpu_ns)} computing", f"{format_ns(split.sql_ns)} SQL"]
        yield Field("Self time is", ", ".join([*parts, f"{format_ns(split.waiting_ns)} waiting"]))
    if count:
        yield Field(queries, f"{query_text(count)}, {format_ns(query_ns)}")


def _outcome_text(call: ReceiverCall) -> str:
    if call.outcome is Outcome.SKIPPED:
        return "skipped: an earlier receiver raised"
    parts = [call.outcome.replace("_", " ")]
    if call.response_type:
        parts.append(f", a {call.response_type} object")
    if call.exception_type:
        parts.append(f": {call.exception_type}")
        parts.append(f": {call.exception_message}" if call.exception_message else "")
    return "".join(parts)


def _call_fields(call: ReceiverCall) -> Iterator[Field]:
    label = call.receiver
    if call.thread_switch_ns:
        yield Field(
            "Thread switch", f"{format_ns(call.thread_switch_ns)} to another thread and back"
        )
    yield Field("Connected", _connection(label))
    if label.app:
        yield Field("Application", label.app)
    if call.duplicate_of is not None:
        text = f"the same function as the receiver in place {call.duplicate_of + 1}"
        yield Field("Connected twice", text, is_warning=True)


def _connection(label: ReceiverLabel) -> str:
    parts = ["weakly" if label.weak else "strongly", "async" if label.is_async else "sync"]
    if label.any_sender:
        parts.append("for any sender")
    if label.dispatch_uid:
        parts.append(f"dispatch_uid {label.dispatch_uid}")
    return ", ".join(parts)


def dispatch_fields(trace: Trace, span: Dispatch, node: Node | None = None) -> Iterator[Field]:
    """Yield the fields of a dispatch without signal, sender and time."""
    named = sorted(node.instances if node is not None else {span.instance} - {""})
    if len(named) == 1:
        yield Field("Instance", named[0], search=f"instance:{quoted(named[0])}")
    elif named:
        more = len(named) - MAX_INSTANCES
        rest = f" and {more} more" if more > 0 else ""
        yield Field("Instances", ", ".join(named[:MAX_INSTANCES]) + rest)
    if (site := span.callsite) is not None:
        text = f"{site.function} ({place(site.file, site.line)})"
        yield Field("Sent by", text, site.file, site.line, is_code=True)
    else:
        yield Field("Sent by", "unknown code")
    yield Field("Sent with", f"{span.method}()", is_code=True)
    yield from _argument_fields(span)
    yield Field("Transaction", transaction_text(span))
    if span.exception_type:
        yield Field("Raised", span.exception_type, is_warning=True)
    if span.is_detached:
        yield Field("Detached", "ran later, in work that its parent had started and not waited for")
    if span.thread and span.thread != trace.thread:
        yield Field("Thread", span.thread)
    if span.in_event_loop:
        text = "sent synchronously in the thread of a running loop"
        yield Field("Event loop", text, is_warning=True)


def _argument_fields(span: Dispatch) -> Iterator[Field]:
    """Yield the arguments that were sent along."""
    if span.action:
        parts = [span.action, "from the other side of the relation" if span.reverse else ""]
        parts.append("" if span.pk_count is None else plural(span.pk_count, "primary key"))
        yield Field("Action", ", ".join(filter(None, parts)))
    if span.created is not None:
        yield Field("Created", "yes" if span.created else "no")
    if span.raw:
        yield Field("Raw", "yes: loaded from a fixture")
    if span.update_fields is not None:
        yield Field("update_fields", ", ".join(span.update_fields) or "none")
    for name, value in span.values.items():
        yield Field(f"{name} =", value)
    if span.named and not span.values:
        yield Field("Further arguments", ", ".join(span.named), is_code=True)


_TRANSACTIONS: Final = {
    TransactionOutcome.COMMITTED: "committed",
    TransactionOutcome.ROLLED_BACK: "rolled back",
    TransactionOutcome.SAVEPOINT_ROLLED_BACK: "its savepoint was rolled back",
    TransactionOutcome.TEST: "of a test, which rolls it back",
    TransactionOutcome.UNKNOWN: "had not ended yet",
}


def transaction_text(span: Dispatch) -> str:
    """Return in what transaction *span* was sent and what became of that."""
    using = f" on {span.using}" if span.using else ""
    if span.transaction is TransactionOutcome.NONE:
        return f"none: autocommit{using}"
    depth = f", block {span.transaction_depth}" if span.transaction_depth > 1 else ""
    return f"atomic{using}{depth}: {_TRANSACTIONS[span.transaction]}"
