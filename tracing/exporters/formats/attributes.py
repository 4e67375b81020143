"""Attributes of a trace and its spans in the words of OpenTelemetry."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tracing.spans.records import Dispatch, Kind, Status

if TYPE_CHECKING:
    from tracing.spans.records import ReceiverCall, Trace


def request_route(trace: Trace) -> str:
    """Return the route of a request, without its method; empty if none."""
    if trace.kind is not Kind.REQUEST:
        return ""
    _method, space, route = trace.name.partition(" ")
    if not space:
        return trace.name
    return route if route.startswith("/") else ""


def span_name(trace: Trace) -> str:
    """Return the name of the span of *trace* itself.

    Of a request as the conventions have it: method and route, or the method alone.
    """
    if trace.kind is not Kind.REQUEST:
        return trace.name
    # An odd method is no name, since visitors choose it.
    method = "HTTP" if trace.name.startswith("OTHER ") else trace.http_method
    return f"{method} {request_route(trace)}".strip()


def resource_attributes(trace: Trace, service: str = "") -> dict[str, Any]:
    """Return the attributes of the process that recorded *trace*.

    Args:
        trace: The trace.
        service: Value of ``service.name``; empty to leave it to others.
    """
    found = {
        "service.name": service,
        "service.version": trace.release,
        "host.name": trace.host,
        "process.pid": trace.process,
    }
    return {name: value for name, value in found.items() if value != ""}


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
        "http.route": request_route(trace),
        "url.path": trace.http_path,
        "http.response.status_code": trace.http_status,
        "user.id": trace.user_id,
        "error.type": _error_type(trace),
    }
    found |= trace.attributes
    return {name: value for name, value in found.items() if value not in {"", None}}


def _error_type(trace: Trace) -> str:
    if trace.status is not Status.ERROR:
        return ""
    return trace.error.partition(":")[0] or str(trace.http_status or "")


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


def exception_attributes(call: ReceiverCall) -> dict[str, Any]:
    """Return the attributes of what *call* raised; there is no stack trace."""
    found = {"exception.type": call.exception_type, "exception.message": call.exception_message}
    return {name: text for name, text in found.items() if text}
