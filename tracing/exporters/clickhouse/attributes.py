"""Records as attributes of spans, in text.

What columns of the table say is not among them, nor what is as it mostly is; ``REST`` has what no attribute
of OpenTelemetry says. ``tracing.store.clickhouse.spans`` makes records of them again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec
from msgspec.structs import replace

from tracing.exporters.formats.attributes import (
    call_attributes,
    dispatch_attributes,
    trace_attributes,
)
from tracing.spans.records import (
    Dispatch,
    Method,
    Outcome,
    ReceiverCall,
    ReceiverLabel,
    Trace,
    TransactionOutcome,
)
from tracing.store.clickhouse.spans import REST, TOLD_OF_TRACE, Attributes

if TYPE_CHECKING:
    from tracing.spans.records import Hazard

_NOT_IN_REST: Final[dict[str, Any]] = {
    "dispatches": [], "hazards": [], "known_hazards": [], "diagnosis_context": None
}  # fmt: skip
_TOLD_OF_DISPATCH: Final[dict[str, Any]] = {
    "number": 1, "signal": "", "sender": "", "method": Method.SEND, "start_ns": 0, "duration_ns": 0,
    "depth": 0, "transaction_depth": 0, "instance": "", "created": None, "raw": None, "using": "",
    "action": "", "callsite": None, "thread": "", "transaction": TransactionOutcome.NONE,
    "exception_type": "", "query_count": 0, "query_ns": 0,
}  # fmt: skip
_NO_RECEIVER: Final = ReceiverLabel("")
_TOLD_OF_CALL: Final[dict[str, Any]] = {
    "number": 1, "position": 0, "receiver": _NO_RECEIVER, "start_ns": 0, "duration_ns": 0,
    "self_ns": 0, "response_type": "", "outcome": Outcome.RETURNED, "exception_type": "",
    "exception_message": "", "query_count": 0, "query_ns": 0, "cpu_ns": None,
}  # fmt: skip
_DEFAULTS: Final = {
    "django.signal.position": "0",
    "django.signal.weak": "true",
    "django.signal.is_async": "false",
}
"""Attributes that are left out of what most calls say."""
_APART: Final = ("django.signal.instance", "django.db.query_count")
"""Attributes of which each span has its own, so that they stand behind what many share."""

NUMBERS: Final = (
    *_APART,
    "django.db.query_ns",
    "django.signal.cpu_ns",
    "django.signal.self_ns",
    "django.tracing.above",
    "django.tracing.above_signal",
    "django.tracing.above_sender",
)
"""Attributes of which each span has its own."""

_encode: Final = msgspec.json.Encoder().encode


def texts(attributes: dict[str, Any]) -> Attributes:
    """Return *attributes* as text, as the collector writes them."""
    return {
        name: value if type(value) is str else _text(value) for name, value in attributes.items()
    }


def _text(value: Any) -> str:
    if value is True:
        return "true"
    return "false" if value is False else str(value)


def _without_empty(attributes: Attributes) -> Attributes:
    return {name: text for name, text in attributes.items() if text}


def _with_rest(record: Dispatch | ReceiverCall, nothing: bytes) -> Attributes:
    rest = _encode(record)
    return {} if rest == nothing else {REST: rest.decode()}


def attributes_of_trace(trace: Trace) -> Attributes:
    """Return the attributes of the span of *trace* itself.

    Those that others gave it are overridden by those that are read again.
    """
    rest = _encode(replace(trace, **_NOT_IN_REST, **TOLD_OF_TRACE)).decode()
    return {
        **trace.attributes,
        **texts(trace_attributes(replace(trace, attributes={}, dispatches=[]))),
        REST: rest,
        "django.tracing.mine": "true" if trace.is_mine else "false",
    }


def key_of_dispatch(dispatch: Dispatch) -> tuple[object, ...]:
    """Return what the attributes follow from that common dispatches share."""
    return (
        dispatch.signal, dispatch.sender, dispatch.method, dispatch.callsite, dispatch.created,
        dispatch.raw, dispatch.using, dispatch.action, dispatch.transaction,
        dispatch.transaction_depth, dispatch.depth, dispatch.thread, dispatch.named,
        dispatch.update_fields, dispatch.reverse, dispatch.in_event_loop,
        len(dispatch.receiver_calls),
    )  # fmt: skip


def is_common_dispatch(dispatch: Dispatch) -> bool:
    """Return whether ``key_of_dispatch`` tells all but its numbers."""
    return not (
        dispatch.exception_type
        or dispatch.values
        or dispatch.is_detached
        or dispatch.same_instance_as is not None
        or dispatch.pk_count is not None
        or any(call.outcome is Outcome.SKIPPED for call in dispatch.receiver_calls)
    )


def attributes_of_dispatch(dispatch: Dispatch, *, is_below: bool = True) -> Attributes:
    """Return the attributes of the span of *dispatch*, all but its numbers.

    Calls that were skipped are no spans: they are in its rest.

    Args:
        dispatch: The dispatch.
        is_below: The parent of its span is the one that its parent number stands for.
    """
    skipped = [call for call in dispatch.receiver_calls if not call.was_called]
    rest = replace(dispatch, receiver_calls=skipped, **_TOLD_OF_DISPATCH)
    if is_below:
        rest.parent_number = None
    more = {"django.signal.depth": str(dispatch.depth)}
    if dispatch.transaction_depth:
        more["django.db.transaction_depth"] = str(dispatch.transaction_depth)
    if dispatch.named and not any("," in name for name in dispatch.named):
        more["django.signal.named"] = ",".join(dispatch.named)
        rest.named = ()
    found = texts(dispatch_attributes(dispatch))
    for name in _APART:
        found.pop(name, None)
    # As each call repeats them: compressed, they are one piece.
    facts = {_OF_SITE.get(name, name): text for name, text in facts_of_dispatch(dispatch).items()}
    before = {name: text for name, text in found.items() if name not in facts}
    return {**_with_rest(rest, _NO_DISPATCH), **before, **more, **facts}


def facts_of_dispatch(dispatch: Dispatch) -> Attributes:
    """Return what is looked for in a call and its *dispatch* at once."""
    site = dispatch.callsite
    return _without_empty(
        {
            "django.signal": dispatch.signal,
            "django.signal.sender": dispatch.sender,
            "django.signal.method": dispatch.method.value,
            "django.signal.created": _flag(dispatch.created),
            "django.signal.action": dispatch.action,
            "django.db.using": dispatch.using,
            "django.db.transaction": dispatch.transaction.value,
            "django.signal.sent_in": site.file if site else "",
            "django.signal.sent_by": site.function if site else "",
        }
    )


_OF_SITE: Final = {
    "django.signal.sent_in": "code.file.path",
    "django.signal.sent_by": "code.function.name",
}


def numbers_of_dispatch(dispatch: Dispatch) -> Attributes:
    """Return what the span of each *dispatch* has its own of."""
    found = {"django.signal.instance": dispatch.instance} if dispatch.instance else {}
    if dispatch.query_count:
        found["django.db.query_count"] = str(dispatch.query_count)
    if dispatch.query_ns:
        found["django.db.query_ns"] = str(dispatch.query_ns)
    return found


def calls_above(trace: Trace) -> dict[int | None, Attributes]:
    """Return what dispatches that a call sent say of it, by its number.

    Of a call that another segment of the trace has nothing is said.
    """
    senders = {each.parent_number for each in trace.dispatches if each.parent_number}
    return {
        call.number: {
            "django.tracing.above": call.receiver.name,
            "django.tracing.above_signal": dispatch.signal,
            "django.tracing.above_sender": dispatch.sender,
        }
        for dispatch in (trace.dispatches if senders else ())
        for call in dispatch.receiver_calls
        if call.number in senders
    }


def key_of_call(call: ReceiverCall) -> tuple[object, ...]:
    """Return what the attributes follow from that common calls share."""
    label = call.receiver
    return (
        label.name, label.file, label.line, label.dispatch_uid, label.weak, label.is_async,
        label.app, label.any_sender, label.mine, call.position, call.outcome, call.response_type,
        call.duplicate_of,
    )  # fmt: skip


def is_common_call(call: ReceiverCall) -> bool:
    """Return whether ``key_of_call`` tells all but its numbers."""
    return not (
        call.exception_type or call.exception_message or call.thread_switch_ns or call.statements
    )


def attributes_of_call(call: ReceiverCall) -> Attributes:
    """Return the attributes of the span of *call*, all but its numbers.

    What is as it mostly is, or stands in the name of the span, is left out.
    """
    told, label = _TOLD_OF_CALL, call.receiver
    if call.outcome is not Outcome.RAISED and call.exception_message:
        told = {**told, "exception_message": call.exception_message}
    found = texts(call_attributes(call))
    for name in (*_APART, "code.function.name"):
        found.pop(name, None)
    for name, text in _DEFAULTS.items():
        if found.get(name) == text:
            del found[name]
    more = {
        "django.signal.app": label.app,
        "django.signal.mine": "true" if label.mine else "",
        "django.signal.any_sender": "true" if label.any_sender else "",
    }
    return {**_with_rest(replace(call, **told), _NO_CALL), **found, **_without_empty(more)}


def numbers_of_call(call: ReceiverCall, dispatch: Dispatch | None) -> Attributes:
    """Return what the span of each *call* has its own of."""
    instance = dispatch.instance if dispatch else ""
    found = {"django.signal.instance": instance} if instance else {}
    if call.query_count:
        found["django.db.query_count"] = str(call.query_count)
    if call.query_ns:
        found["django.db.query_ns"] = str(call.query_ns)
    if call.cpu_ns is not None:
        found["django.signal.cpu_ns"] = str(call.cpu_ns)
    # Most calls sent nothing.
    if call.self_ns != call.duration_ns:
        found["django.signal.self_ns"] = str(call.self_ns)
    return found


_NO_DISPATCH: Final = _encode(Dispatch(receiver_calls=[], **_TOLD_OF_DISPATCH))
_NO_CALL: Final = _encode(ReceiverCall(**_TOLD_OF_CALL))


def hazard_event(hazard: Hazard) -> Attributes:
    """Return the attributes of the event that tells of *hazard*."""
    return {
        "django.hazard.rule": hazard.hazard,
        "django.hazard.severity": hazard.severity,
        "django.hazard.message": hazard.message,
        "django.hazard.fingerprint": hazard.fingerprint,
        REST: _encode(hazard).decode(),
    }


def _flag(value: bool | None) -> str:  # noqa: FBT001 - the value of a field.
    return "" if value is None else str(value).lower()
