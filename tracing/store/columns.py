"""Spans as rows of the store and back: facts and their columns."""

from __future__ import annotations

import json
from hashlib import blake2b
from operator import attrgetter
from typing import TYPE_CHECKING, Any

from msgspec import Struct, convert, to_builtins
from msgspec.structs import asdict, fields

from tracing.spans.records import (
    ConnectionChange,
    DiscardedCallback,
    Dispatch,
    Hazard,
    LostReceiver,
    MissedReceiver,
    SideEffect,
    SilentWrite,
    Trace,
    WaitingCallback,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from tracing.spans.records import ReceiverCall

TRACE_COLUMNS = (
    "id", "trace_id", "root_span_id", "label_id", "kind", "status", "failed", "started_ns", "duration_ns",
    "parent_span_id", "parent_trace_id", "http_method", "http_path", "http_status", "user_id",
    "host", "process", "thread", "release", "error", "attributes", "extra", "dispatch_count",
    "receiver_call_count", "query_count", "query_ns", "signal_ns", "error_count", "hazard_count",
    "dropped_count", "orphan_count", "overhead_ns", "segment", "final", "mine", "pinned", "note",
)  # fmt: skip
"""The row of a trace, in the order in which it is written."""
_BUILT = frozenset({"kind", "status", "attributes"})
TRACE_FIELDS = tuple(
    name for name in TRACE_COLUMNS if name in Trace.__struct_fields__ and name not in _BUILT
)
"""The columns that are a field of the trace, as they stand."""

SHARED = (
    "created", "raw", "using", "update_fields", "action", "reverse", "named", "is_detached",
    "transaction_depth", "in_event_loop",
)  # fmt: skip
"""Fields that many dispatches share; kept once in ``SharedAttributes``."""
shared_of: Callable[[Dispatch], tuple[Any, ...]] = attrgetter(*SHARED)
"""Return the shared fields of a dispatch, hashable, in the order of ``SHARED``."""
_DEFAULTS = {field.name: field.default for field in fields(Dispatch)}


def label_key(*parts: object) -> str:
    """Return the hash (32 hex digits) that makes a label unique."""
    text = "\x1f".join(map(str, parts))
    return blake2b(text.encode(errors="backslashreplace"), digest_size=16).hexdigest()


def encode_shared(shared: tuple[Any, ...]) -> str:
    """Return *shared* as a JSON object without those that have their default."""
    values = zip(SHARED, shared, strict=True)
    return dump({name: value for name, value in values if value != _DEFAULTS[name]})


def decode_shared(text: str) -> dict[str, Any]:
    """Return the facts in *text* as arguments of ``records.Dispatch``."""
    shared: dict[str, Any] = json.loads(text)
    for name in ("update_fields", "named"):
        if shared.get(name) is not None:
            shared[name] = tuple(shared[name])
    return shared


def dispatch_extra(dispatch: Dispatch, thread: str) -> str | None:
    """Return the rare facts of *dispatch* as JSON; None without any.

    Args:
        dispatch: The dispatch.
        thread: Name of the thread of its trace: not repeated.
    """
    extra: dict[str, Any] = {}
    if dispatch.same_instance_as is not None:
        extra["same_instance_as"] = dispatch.same_instance_as
    if dispatch.pk_count is not None:
        extra["pk_count"] = dispatch.pk_count
    if dispatch.exception_type:
        extra["exception_type"] = dispatch.exception_type
    if dispatch.thread != thread:
        extra["thread"] = dispatch.thread
    if dispatch.values:
        extra["values"] = dispatch.values
    return dump(extra) if extra else None


def call_extra(call: ReceiverCall, statements: Mapping[str, int]) -> str | None:
    """Return the rare facts of *call* as JSON; None without any.

    Args:
        call: The call.
        statements: Ids of the labels of its statements.

    Raises:
        KeyError: A statement has no label yet.
    """
    extra: dict[str, Any] = {}
    if call.response_type:
        extra["response_type"] = call.response_type
    if call.exception_type:
        extra["exception_type"] = call.exception_type
    if call.exception_message:
        extra["exception_message"] = call.exception_message
    if call.thread_switch_ns:
        extra["thread_switch_ns"] = call.thread_switch_ns
    if call.cpu_ns is not None:
        extra["cpu_ns"] = call.cpu_ns
    if call.duplicate_of is not None:
        extra["duplicate_of"] = call.duplicate_of
    if call.statements:
        extra["statements"] = [
            (statements[statement], count, duration_ns)
            for statement, count, duration_ns in call.statements
        ]
    return dump(extra) if extra else None


def decode_extra(text: str | None) -> dict[str, Any]:
    """Return the facts of an ``extra`` column as arguments of the span.

    Statements are still (label id, count, ns).
    """
    if text is None:
        return {}
    extra: dict[str, Any] = json.loads(text)
    return extra


class TraceExtra(Struct, omit_defaults=True):
    """The column ``extra`` of a trace: what few traces have."""

    side_effects: list[SideEffect] = []
    lost_receivers: list[LostReceiver] = []
    connection_changes: list[ConnectionChange] = []
    unreadable: list[tuple[str, str, int]] = []
    missed_receivers: list[MissedReceiver] = []
    waiting_callbacks: list[WaitingCallback] = []
    silent_writes: list[SilentWrite] = []
    discarded_callbacks: list[DiscardedCallback] = []
    excluded_count: int = 0
    left_out_count: int = 0
    arrival_key: str = ""
    redirect_key: str = ""


def encode_trace_extra(trace: Trace) -> str:
    """Return the rare facts of *trace* as JSON; empty without any."""
    found = TraceExtra(**{name: getattr(trace, name) for name in TraceExtra.__struct_fields__})
    return dump(extra) if (extra := to_builtins(found)) else ""


def decode_trace_extra(text: str | None) -> dict[str, Any]:
    """Return the arguments of ``records.Trace`` that are in *text*."""
    return asdict(convert(json.loads(text), TraceExtra)) if text else {}


def hazard_fingerprint(hazard: Hazard) -> str:
    """Return the hash that is the same whenever the same thing is found again."""
    return label_key(*hazard.subject)


def full_instance(instance: str, sender: str) -> str:
    """Return a stored *instance* with its model, if that is the sender."""
    return sender + instance if instance.startswith(":") else instance


_encode = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False, default=str).encode


def dump(value: object) -> str:
    """Return *value* as compact JSON; text that no database takes is escaped."""
    return _encode(value)
