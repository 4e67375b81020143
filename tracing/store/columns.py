"""Spans as rows of the store and back: which fact goes into which column, in one place."""

from __future__ import annotations

import json
from hashlib import blake2b
from typing import TYPE_CHECKING, Any

from msgspec import Struct, convert, to_builtins
from msgspec.structs import asdict

from tracing.spans.records import (
    ConnectionChange,
    Hazard,
    LostReceiver,
    MissedReceiver,
    SideEffect,
    Trace,
    WaitingCallback,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tracing.spans.records import Dispatch, ReceiverCall

# (name, default) of the facts that many dispatches share; kept once in FactsLabel. The tuple that
# `facts_of` returns has the same order.
FACTS: tuple[tuple[str, Any], ...] = (
    ("created", None),
    ("raw", None),
    ("using", ""),
    ("update_fields", None),
    ("action", ""),
    ("reverse", None),
    ("named", ()),
    ("parent_is_link", False),
    ("transaction_depth", 0),
    ("in_event_loop", False),
)


def label_key(*parts: object) -> str:
    """Return the hash (32 hex digits) that makes a label unique."""
    text = "\x1f".join(map(str, parts))
    return blake2b(text.encode(errors="backslashreplace"), digest_size=16).hexdigest()


def facts_of(dispatch: Dispatch) -> tuple[Any, ...]:
    """Return the shared facts of *dispatch*, hashable, in the order of ``FACTS``."""
    return (
        dispatch.created,
        dispatch.raw,
        dispatch.using,
        dispatch.update_fields,
        dispatch.action,
        dispatch.reverse,
        dispatch.named,
        dispatch.parent_is_link,
        dispatch.transaction_depth,
        dispatch.in_event_loop,
    )


def encode_facts(facts: tuple[Any, ...]) -> str:
    """Return *facts* as a JSON object without those that have their default."""
    return dump(
        {
            name: value
            for (name, default), value in zip(FACTS, facts, strict=True)
            if value != default
        }
    )


def decode_facts(text: str) -> dict[str, Any]:
    """Return the facts in *text* as arguments of ``records.Dispatch``."""
    facts: dict[str, Any] = json.loads(text)
    for name in ("update_fields", "named"):
        if facts.get(name) is not None:
            facts[name] = tuple(facts[name])
    return facts


def dispatch_details(dispatch: Dispatch, thread: str) -> str | None:
    """Return the rare facts of *dispatch* as a JSON object, or None if there are none.

    Args:
        dispatch: The dispatch.
        thread: Name of the thread of its trace: not repeated.
    """
    details: dict[str, Any] = {}
    if dispatch.same_instance_as is not None:
        details["same_instance_as"] = dispatch.same_instance_as
    if dispatch.pk_count is not None:
        details["pk_count"] = dispatch.pk_count
    if dispatch.exception_type:
        details["exception_type"] = dispatch.exception_type
    if dispatch.thread != thread:
        details["thread"] = dispatch.thread
    if dispatch.values:
        details["values"] = dispatch.values
    return dump(details) if details else None


def call_details(call: ReceiverCall, statements: Mapping[str, int]) -> str | None:
    """Return the rare facts of *call* as a JSON object, or None if there are none.

    Args:
        call: The call.
        statements: Ids of the labels of its statements.

    Raises:
        KeyError: A statement has no label yet.
    """
    details: dict[str, Any] = {}
    if call.response_type:
        details["response_type"] = call.response_type
    if call.exception_type:
        details["exception_type"] = call.exception_type
    if call.exception_message:
        details["exception_message"] = call.exception_message
    if call.hop_ns:
        details["hop_ns"] = call.hop_ns
    if call.same_as is not None:
        details["same_as"] = call.same_as
    if call.statements:
        details["statements"] = [
            (statements[statement], count, duration_ns)
            for statement, count, duration_ns in call.statements
        ]
    return dump(details) if details else None


def decode_details(text: str | None) -> dict[str, Any]:
    """Return the facts of a ``details`` column as arguments of the span.

    Statements are still (label id, count, ns).
    """
    if text is None:
        return {}
    details: dict[str, Any] = json.loads(text)
    return details


class TraceDetails(Struct, omit_defaults=True):
    """What the column ``details`` of a trace holds: what few traces have."""

    side_effects: list[SideEffect] = []
    lost_receivers: list[LostReceiver] = []
    connection_changes: list[ConnectionChange] = []
    unreadable: list[tuple[str, str, int]] = []
    missed_receivers: list[MissedReceiver] = []
    waiting_callbacks: list[WaitingCallback] = []
    excluded_count: int = 0


def encode_trace_details(trace: Trace) -> str:
    """Return side effects, changes of receivers and what was left out as JSON; empty without."""
    found = TraceDetails(**{name: getattr(trace, name) for name in TraceDetails.__struct_fields__})
    return dump(details) if (details := to_builtins(found)) else ""


def decode_trace_details(text: str | None) -> dict[str, Any]:
    """Return what ``encode_trace_details`` returned as arguments of ``records.Trace``."""
    return asdict(convert(json.loads(text), TraceDetails)) if text else {}


def hazard_fingerprint(hazard: Hazard) -> str:
    """Return the hash that is the same whenever the same thing is found again."""
    return label_key(*hazard.subject)


def short_instance(instance: str, sender: str) -> str:
    """Return *instance* without the label of its model when that is the sender's."""
    if instance.startswith(sender) and instance[len(sender) : len(sender) + 1] == ":":
        return instance[len(sender) :]
    return instance


def full_instance(instance: str, sender: str) -> str:
    """Return what ``short_instance`` shortened."""
    return sender + instance if instance.startswith(":") else instance


def dump(value: object) -> str:
    """Return *value* as compact JSON; text that no database takes is escaped."""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False, default=str)
