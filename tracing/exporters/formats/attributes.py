"""What is said of a trace and its spans in the words of OpenTelemetry."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tracing.spans.records import Dispatch, Kind

if TYPE_CHECKING:
    from tracing.spans.records import ReceiverCall, Trace


def trace_attributes(trace: Trace) -> dict[str, Any]:
    """Return the attributes of the span of *trace* itself."""
    found: dict[str, Any] = {
        "django.tracing.kind": str(trace.kind),
        "django.tracing.status": str(trace.status),
        "django.tracing.dispatch_count": trace.dispatch_count,
        "django.tracing.receiver_call_count": trace.receiver_call_count,
        "django.tracing.query_count": trace.query_count,
        "django.tracing.error_count": trace.error_count,
        "process.pid": trace.process,
        "thread.name": trace.thread,
        "http.request.method": trace.http_method,
        "http.route": trace.name if trace.kind is Kind.REQUEST else "",
        "url.path": trace.http_path,
        "http.response.status_code": trace.http_status,
        "user.id": trace.user_id,
    }
    found |= trace.attributes
    return {name: value for name, value in found.items() if value not in {"", None}}


def span_attributes(span: Dispatch | ReceiverCall) -> dict[str, Any]:
    """Return the attributes of a dispatch or a receiver call."""
    if isinstance(span, Dispatch):
        return dispatch_attributes(span)
    return call_attributes(span)


def dispatch_attributes(dispatch: Dispatch) -> dict[str, Any]:
    """Return the attributes of the span of *dispatch*."""
    site = dispatch.callsite
    found: dict[str, Any] = {
        "django.signal": dispatch.signal,
        "django.signal.sender": dispatch.sender,
        "django.signal.method": str(dispatch.method),
        "django.signal.instance": dispatch.instance,
        "django.signal.created": dispatch.created,
        "django.signal.raw": dispatch.raw,
        "django.signal.action": dispatch.action,
        "django.signal.receiver_count": len(dispatch.receiver_calls),
        "django.db.using": dispatch.using,
        "django.db.transaction": str(dispatch.transaction),
        "django.db.query_count": dispatch.query_count,
        "thread.name": dispatch.thread,
        "code.file.path": "" if site is None else site.file,
        "code.line.number": None if site is None else site.line,
        "code.function.name": "" if site is None else site.function,
        "error.type": dispatch.exception_type,
    }
    if dispatch.update_fields is not None:
        found["django.signal.update_fields"] = ",".join(dispatch.update_fields)
    found |= {f"django.signal.value.{name}": text for name, text in dispatch.values.items()}
    return {name: value for name, value in found.items() if value not in {"", None}}


def call_attributes(call: ReceiverCall) -> dict[str, Any]:
    """Return the attributes of the span of *call*."""
    label = call.receiver
    found: dict[str, Any] = {
        "django.signal.receiver": label.name,
        "django.signal.dispatch_uid": label.dispatch_uid,
        "django.signal.position": call.position,
        "django.signal.outcome": str(call.outcome),
        "django.signal.response_type": call.response_type,
        "django.signal.weak": label.weak,
        "django.signal.is_async": label.is_async,
        "django.db.query_count": call.query_count,
        "code.function.name": label.name,
        "code.file.path": label.file,
        "code.line.number": label.line or None,
        "error.type": call.exception_type,
    }
    return {name: value for name, value in found.items() if value not in {"", None}}
