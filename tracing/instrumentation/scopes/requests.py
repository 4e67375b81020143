"""Request traces: from ``request_started`` to ``request_finished``, both inside."""

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
from tracing.instrumentation.buffer import LiveTrace, Stream
from tracing.instrumentation.context import current
from tracing.instrumentation.failures import failed
from tracing.instrumentation.inlining import Calls, Inline, Later
from tracing.instrumentation.sampling import decide, switch
from tracing.instrumentation.scopes.handling import Handling, end_untold, is_inside, was_cut
from tracing.instrumentation.scopes.trust import Trust
from tracing.spans.records import Kind

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

_TRACEPARENT: Final = re.compile(
    r"^([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?$"
)

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
    """Leave out requests whose path matches one of *patterns*, as ``fnmatch`` reads them, from now on."""
    global _excluded  # noqa: PLW0603 - one list per process, replaced as a whole.
    parts = [translate(str(pattern)) for pattern in patterns]
    _excluded = re.compile("|".join(parts)) if parts else None


def parse_traceparent(header: str) -> tuple[str, str, bool] | None:
    """Return (trace id, parent span id, sampled) of a W3C ``traceparent``; None if it is not valid."""
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
    """Return the same of OpenTelemetry's current span; None where it is not loaded or not active."""
    api = sys.modules.get("opentelemetry.trace")
    if api is None:
        return None
    found = api.get_current_span().get_span_context()
    if not found.is_valid:
        return None
    return f"{found.trace_id:032x}", f"{found.span_id:016x}", bool(found.trace_flags.sampled)


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
    """Return the name of a request: its method and *route*, or that it has none.

    Names are kept for good as labels, so nothing in them is for visitors to choose: the path and
    an odd method are columns of the trace.
    """
    if route is None:
        return _UNROUTED.get(method) or f"{_OTHER_METHOD} (no route)"
    known = method if method in _UNROUTED else _OTHER_METHOD
    return f"{known} /{route.lstrip('^/')}"[:MAX_NAME]


def started(named: Mapping[str, Any]) -> None:
    """Open the trace of a request, just before ``request_started`` is sent. Never raises."""
    try:
        outer = context.running_stream()
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
            context.leave_out("request", outer).handling = handling
            return
        trace = LiveTrace(
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


def _is_request(stream: Stream) -> bool:
    if stream.trace is not None:
        return stream.trace.kind is Kind.REQUEST
    return stream.origin is not None and stream.origin[0] == "request"


def finished(stream: Stream | None = None) -> None:
    """Close the trace of a request, just after ``request_finished`` was sent in *stream*.

    Without one, of the running request. Idempotent; never raises anything of its own.
    """
    try:
        if stream is None or not _is_request(stream):
            stream = current()
        if stream is not None and _is_request(stream):
            if stream.trace is not None and was_cut(stream):
                stream.trace.cancelled = True
            context.end(stream)
    except Exception as error:
        failed("request_finished", error)


def finished_without_response(_stream: Stream | None = None) -> None:
    """Close the trace of a request that Django's ASGI handler ends itself: there is no response to close.

    It does so where the client has gone. Never raises.
    """
    trace = context.current_trace()
    if trace is not None and trace.kind is Kind.REQUEST:
        trace.cancelled = True
    finished()


class _Hook:
    """What Django's ASGI handler calls where it has stopped to listen for the client's going."""

    __slots__ = ()

    def stopped(self, error: BaseException) -> None:
        """Note that the running request is cancelled, if the client has gone. Never raises."""
        try:
            stream = current()
            if (
                isinstance(error, RequestAborted)
                and stream is not None
                and stream.trace is not None
            ):
                stream.trace.cancelled = stream.trace.kind is Kind.REQUEST
        except Exception as failure:
            failed("request_finished", failure)


def _has_handler(module: str) -> list[Inline]:
    listen = vars(sys.modules[module].ASGIHandler).get("listen_for_disconnect")
    return [Inline(listen, _Hook(), Calls(raised="hook.stopped(_error)"))] if listen else []


def later() -> list[Later]:
    """Return (module, what gives hooks for it): a handler that does not tell otherwise who has gone.

    Until Django 6.0 the task that sends is another one, and cancelled. From 6.1 on it is the one that
    goes on to ``request_finished``.
    """
    module = "django.core.handlers.asgi"
    return [(module, partial(_has_handler, module))] if django.VERSION >= (6, 1) else []
