"""Request traces, with both ``request_started`` and ``_finished`` inside."""

from __future__ import annotations

import re
import sys
from fnmatch import translate
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import django
from django.core.exceptions import RequestAborted

from tracing.instrumentation import context
from tracing.instrumentation.attributes.names import MAX_NAME
from tracing.instrumentation.buffer import ActiveTrace, Buffer
from tracing.instrumentation.context import current
from tracing.instrumentation.failures import failed
from tracing.instrumentation.inlining import Calls, Inline, Later
from tracing.instrumentation.sampling import decide, switch
from tracing.instrumentation.scopes.handling import Handling, end_untold, is_inside, was_cut
from tracing.instrumentation.scopes.trust import Trust
from tracing.patterns import pattern
from tracing.spans.records import Kind

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

_TRACEPARENT: Final = pattern(r"^([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?$")

_excluded: re.Pattern[str] | None = None
"""Matches the paths that are not recorded."""

MAX_PATH: Final = 500
"""Characters kept of a path."""


trusts = Trust()
"""Whether the sender of a request may decide that it is recorded, or not."""


def trust_parents(trust: Trust) -> None:
    """Follow the sampling decisions of those that *trust* trusts, from now on."""
    global trusts  # noqa: PLW0603 - one rule per process, replaced as a whole.
    trusts = trust


def exclude_paths(patterns: Iterable[str]) -> None:
    """Leave out requests whose path matches one of *patterns*."""
    global _excluded  # noqa: PLW0603 - one list per process, replaced as a whole.
    parts = [translate(str(pattern)) for pattern in patterns]
    _excluded = re.compile("|".join(parts)) if parts else None


def parse_traceparent(header: str) -> tuple[str, str, bool] | None:
    """Return (trace id, parent span id, sampled) of a header, or None."""
    match = _TRACEPARENT.match(header.strip().lower())
    if match is None:
        return None
    version, trace_id, span_id, flags, rest = match.groups()
    if (
        version == "ff"
        or (version == "00" and rest)
        or not int(trace_id, 16)
        or not int(span_id, 16)
    ):
        return None
    return trace_id, span_id, bool(int(flags, 16) & 1)


def opentelemetry_parent() -> tuple[str, str, bool] | None:
    """Return the same of OpenTelemetry's current span, or None."""
    # Nor while another thread is about to load it: the worker does, to export there.
    current_span = getattr(sys.modules.get("opentelemetry.trace"), "get_current_span", None)
    if current_span is None:
        return None
    found = current_span().get_span_context()
    if not found.is_valid:
        return None
    return f"{found.trace_id:032x}", f"{found.span_id:016x}", bool(found.trace_flags.sampled)


def follow_current_span(trace: ActiveTrace) -> None:
    """Put *trace* under OpenTelemetry's current span.

    Only if its own spans may be current: all are of one trace then. Not where its parent is in another one,
    one of its spans was current already, or some of it is exported: it is known by its id. Never raises.
    """
    try:
        spans = trace.root.spans
        parent = opentelemetry_parent() if spans is not None else None
        if parent is None or spans.are_used or trace.reading is not None:
            return
        trace_id, span_id, is_sampled = parent
        has_parent = trace.parent_trace_id or trace.parent_span_id
        if is_sampled and (not has_parent or trace_id in {trace.parent_trace_id, trace.trace_id}):
            trace.trace_id, trace.parent_span_id = trace_id, span_id
    except Exception as error:
        failed("current span", error)


def _facts(named: Mapping[str, Any]) -> tuple[str, str, str]:
    """Return (method, path, traceparent) from a WSGI environ or an ASGI scope."""
    environ = named.get("environ")
    if isinstance(environ, dict):
        path = str(environ.get("SCRIPT_NAME", "")).rstrip("/") + str(environ.get("PATH_INFO", ""))
        if not path.isascii():
            path = path.encode("latin-1", "replace").decode("utf-8", "replace")
        return (
            str(environ.get("REQUEST_METHOD", "")),
            path,
            str(environ.get("HTTP_TRACEPARENT", "")),
        )
    scope = named.get("scope")
    if isinstance(scope, dict):
        parent = next(
            (
                value.decode("latin-1")
                for name, value in scope.get("headers", ())
                if name == b"traceparent"
            ),
            "",
        )
        return str(scope.get("method", "")), str(scope.get("path", "")), parent
    return "", "", ""


_UNROUTED: Final = {
    method: f"{method} (no route)"
    for method in ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT")
}
_OTHER_METHOD: Final = "OTHER"


def request_name(method: str, route: str | None = None) -> str:
    """Return a request's name: its method and *route*.

    Names are kept for good as labels, so nothing in them is for visitors to choose: the path and
    an odd method are columns of the trace.
    """
    if route is None:
        return _UNROUTED.get(method) or f"{_OTHER_METHOD} (no route)"
    known = method if method in _UNROUTED else _OTHER_METHOD
    return f"{known} /{route.lstrip('^/')}"[:MAX_NAME]


def started(named: Mapping[str, Any]) -> None:
    """Open a request's trace, before ``request_started``. Never raises."""
    try:
        outer = context.running_buffer()
        if (outer is not None and outer.suppresses) or not switch.installed:
            return
        handling = Handling()
        while outer is not None and _is_request(outer):
            root = outer.trace.root if outer.trace is not None else outer
            if is_inside(root, handling):
                break
            if root.trace is not None:
                end_untold(root.trace)
            outer = root.outer
        method, path, header = _facts(named)
        parent = opentelemetry_parent() or (parse_traceparent(header) if header else None)
        is_excluded = _excluded is not None and _excluded.match(path) is not None
        # The active span of OpenTelemetry has its flag from the same header.
        flag = parent[2] if parent is not None and trusts(named) else None
        if is_excluded or not decide(Kind.REQUEST, path, flag):
            reason = "excluded path" if is_excluded else ""
            context.leave_out("request", outer, reason=reason).handling = handling
            return
        trace = ActiveTrace(
            Kind.REQUEST,
            request_name(method),
            trace_id=parent[0] if parent is not None else "",
            parent_span_id=parent[1] if parent is not None else "",
            parent_trace_id=outer.trace.trace_id
            if outer is not None and outer.trace is not None
            else "",
            outer=outer,
        )
        trace.root.handling = handling
        trace.http_method = method[:10]
        trace.http_path = path[:MAX_PATH]
        context.begin(trace)
    except Exception as error:
        failed("request_started", error)


def _is_request(buffer: Buffer) -> bool:
    if buffer.trace is not None:
        return buffer.trace.kind is Kind.REQUEST
    return buffer.origin is not None and buffer.origin[0] == "request"


def finished(buffer: Buffer | None = None) -> None:
    """Close a request's trace, after ``request_finished``.

    Without one, of the running request. Idempotent; never raises anything of its own.
    """
    try:
        if buffer is None or not _is_request(buffer):
            buffer = current()
        if buffer is not None and _is_request(buffer):
            if buffer.trace is not None and was_cut(buffer):
                buffer.trace.cancelled = True
            context.end(buffer)
    except Exception as error:
        failed("request_finished", error)


def finished_without_response(_buffer: Buffer | None = None) -> None:
    """Close the trace of a request that the ASGI handler ends itself.

    It does so where the client has gone. Never raises.
    """
    trace = context.current_trace()
    if trace is not None and trace.kind is Kind.REQUEST:
        trace.cancelled = True
    finished()


class _Hook:
    """The hook in Django's ASGI handler after its wait for the client."""

    __slots__ = ()

    def stopped(self, error: BaseException) -> None:
        """Note that the running request is cancelled. Never raises."""
        try:
            buffer = current()
            if (
                isinstance(error, RequestAborted)
                and buffer is not None
                and buffer.trace is not None
            ):
                buffer.trace.cancelled = buffer.trace.kind is Kind.REQUEST
        except Exception as failure:
            failed("request_finished", failure)


def _has_handler(module: str) -> list[Inline]:
    listen = vars(sys.modules[module].ASGIHandler).get("listen_for_disconnect")
    return [Inline(listen, _Hook(), Calls(raised="hook.stopped(_error)"))] if listen else []


def later() -> list[Later]:
    """Return (module, function for hooks) of the ASGI handler of Django 6.1.

    Until Django 6.0 the task that sends is another one, and cancelled. From 6.1 on it is the one that
    goes on to ``request_finished``.
    """
    module = "django.core.handlers.asgi"
    return [(module, partial(_has_handler, module))] if django.VERSION >= (6, 1) else []
