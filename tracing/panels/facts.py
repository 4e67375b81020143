"""What the panel stores of one span: texts short enough for every store, and facts by name."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, TypeAlias

from tracing.analysis import tree
from tracing.analysis.names import ELLIPSIS, callsite_text, place, shorten_middle
from tracing.spans.records import Outcome, TransactionOutcome
from tracing.units import format_ns, plural

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tracing.analysis.tree import Node
    from tracing.spans.records import Callsite, Dispatch, ReceiverCall, ReceiverLabel

Json: TypeAlias = dict[str, Any]

MAX_TEXT: Final = 400
"""Characters of one text."""
MAX_OCCURRENCES: Final = 12
"""Spans of a folded row that are named one by one."""


def clip(text: str, width: int = MAX_TEXT) -> str:
    """Return *text* at most *width* long, without characters that would turn or hide the others."""
    return shorten_middle("".join(c if c.isprintable() else ELLIPSIS for c in text), width)


def place_of(file: str, line: int) -> Json | None:
    """Return a place in a source file, for reading and for opening; None without a file."""
    return {"file": clip(file), "line": line, "text": clip(place(file, line))} if file else None


def site_of(callsite: Callsite | None) -> Json | None:
    """Return the place of *callsite*; None without one."""
    return place_of(callsite.file, callsite.line) if callsite is not None else None


def _fact(name: str, text: str, where: Json | None = None) -> Json:
    return {"name": name, "text": clip(text), "place": where}


def dispatch_facts(span: Dispatch, node: Node) -> Iterable[Json]:
    """Yield what is known of a dispatch, which stands for all of *node*."""
    yield _fact("Signal", span.signal)
    yield _fact("Sender", span.sender)
    if node.instances:
        named = sorted(node.instances)[:MAX_OCCURRENCES]
        more = len(node.instances) - len(named)
        yield _fact("Instance", ", ".join(named) + (f" and {more} more" if more else ""))
    yield _fact("Sent with", f"{span.method}()")
    if span.callsite is not None:
        yield _fact("Sent by", callsite_text(span.callsite), site_of(span.callsite))
    details = ", ".join(_details(span))
    if details:
        yield _fact("Details", details)
    yield from _arguments(span)
    yield _fact("Transaction", transaction_text(span))
    if span.exception_type:
        yield _fact("Left by", span.exception_type)
    if span.parent_is_link:
        yield _fact("Note", "ran later, in work that its parent had left behind")


def _details(span: Dispatch) -> Iterable[str]:
    """Yield what the model signals say about themselves."""
    if span.action:
        yield span.action
    if span.created is not None:
        yield "created" if span.created else "updated"
    if span.raw:
        yield "raw (a fixture)"
    if span.reverse:
        yield "from the other side of the relation"
    if span.pk_count is not None:
        yield plural(span.pk_count, "primary key")


def _arguments(span: Dispatch) -> Iterable[Json]:
    if span.update_fields is not None:
        yield _fact("update_fields", ", ".join(span.update_fields) or "(none)")
    if span.values:
        for name, value in span.values.items():
            yield _fact(f"{name} =", value)
    elif span.named:
        yield _fact("Arguments", ", ".join(span.named))


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


def call_facts(span: ReceiverCall) -> Iterable[Json]:
    """Yield what is known of a receiver call."""
    label = span.receiver
    yield _fact("Receiver", label.name)
    if label.file:
        yield _fact("Defined at", place(label.file, label.line), place_of(label.file, label.line))
    yield _fact("Connected", _connection(label))
    if label.app:
        yield _fact("App", label.app)
    if span.response_type:
        yield _fact("Returned", f"{span.response_type} object")
    if span.exception_type:
        message = f": {span.exception_message}" if span.exception_message else ""
        yield _fact("Raised", f"{span.exception_type}{message}")
    if span.outcome is Outcome.SKIPPED:
        yield _fact("Note", "never called: an earlier receiver raised")
    if span.hop_ns:
        yield _fact("Thread hop", f"{format_ns(span.hop_ns)} to another thread and back")
    if span.same_as is not None:
        yield _fact("Note", f"the same function as the receiver in place {span.same_as + 1}")
    statements = sorted(span.statements, key=lambda statement: -statement[2])
    for sql, count, total_ns in statements[:5]:
        yield {**_fact(f"SQL {tree.TIMES}{count}, {format_ns(total_ns)}", sql), "wide": True}


def _connection(label: ReceiverLabel) -> str:
    parts = ["weakly" if label.weak else "strongly"]
    if label.any_sender:
        parts.append("for any sender")
    if label.dispatch_uid:
        parts.append(f"dispatch_uid {label.dispatch_uid}")
    parts.append("async" if label.is_async else "sync")
    return ", ".join(parts)
