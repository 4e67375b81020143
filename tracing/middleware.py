"""The middleware, which knows what only the handling of a request does.

Route, status and user are put into the trace; the viewer's and the toolbar's own requests are left
out of the store. Sync and async, whichever the project runs.
"""

from __future__ import annotations

import logging
import re
from asyncio import CancelledError
from typing import TYPE_CHECKING, Any, Final

from asgiref.sync import iscoroutinefunction, markcoroutinefunction
from django.apps import apps
from django.conf import settings
from django.utils.functional import LazyObject, empty

from tracing.conf import get_settings
from tracing.instrumentation import context
from tracing.instrumentation.assembly.knowledge import SERVER_ERROR
from tracing.instrumentation.attributes.arguments import instance_key, plain
from tracing.instrumentation.attributes.redaction import key_text, redact_path
from tracing.instrumentation.attributes.values import error_text
from tracing.instrumentation.failures import failed
from tracing.instrumentation.in_tests import is_test_run
from tracing.instrumentation.scopes.handling import response_left
from tracing.instrumentation.scopes.redirects import tell_way
from tracing.instrumentation.scopes.requests import follow_current_span, request_name
from tracing.log import keep_bound
from tracing.spans.records import Kind
from tracing.units import plural, query_text

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from django.http import HttpRequest, HttpResponse
    from django.urls import ResolverMatch

    from tracing.instrumentation.buffer import ActiveTrace, Buffer

OWN_NAMESPACES = frozenset({"tracing", "djdt"})
"""URL namespaces whose requests are about traces, not in them."""

HEADER = "Tracing-Trace-Id"
SERVER_TIMING = "Server-Timing"

logger = logging.getLogger("tracing")


class TracingMiddleware:
    """Put route, status and user into each trace; first in MIDDLEWARE."""

    sync_capable = True
    async_capable = True

    def __init__(
        self, get_response: Callable[[HttpRequest], HttpResponse | Awaitable[HttpResponse]]
    ) -> None:
        if not apps.is_installed("tracing"):
            logger.warning(
                "MIDDLEWARE has %s, and INSTALLED_APPS lacks 'tracing': no trace is recorded.",
                __name__,
            )
        self.get_response = get_response
        self.is_async = iscoroutinefunction(get_response)
        if self.is_async:
            markcoroutinefunction(self)
            if not iscoroutinefunction(self.process_view):
                # Django would have another thread call it, for each request.
                self.process_view = self._aprocess_view  # type: ignore[method-assign,assignment]

    def __call__(self, request: HttpRequest) -> Any:
        """Return the response to *request*, or an awaitable of it under ASGI."""
        if self.is_async:
            return self.__acall__(request)
        buffer, active = context.current(), request_trace()
        if active is not None and active.root.spans is not None:
            follow_current_span(active)
        try:
            response = self.get_response(request)
        except BaseException:
            _left(buffer, None)
            raise
        _left(buffer, response)  # type: ignore[arg-type]
        return response if active is None else _described(active, request, response)  # type: ignore[arg-type]

    async def __acall__(self, request: HttpRequest) -> HttpResponse:
        buffer, active = context.current(), request_trace()
        if active is not None and active.root.spans is not None:
            follow_current_span(active)
        try:
            response = await self.get_response(request)  # type: ignore[misc]
        except BaseException as error:
            if active is not None and isinstance(error, CancelledError | GeneratorExit):
                active.cancelled = True
            _left(buffer, None)
            raise
        _left(buffer, response)
        return response if active is None else _described(active, request, response)

    def process_view(self, request: HttpRequest, *_args: Any) -> None:
        """Leave out requests about traces, as soon as that is known."""
        active = request_trace()
        if active is None:
            return
        match = request.resolver_match
        if match is not None:
            # Known now, and a long request is seen while it runs.
            active.name = request_name(request.method or "", match.route)
            if OWN_NAMESPACES.intersection(match.namespaces):
                active.excluded = True
            _tell_route(active, match)
        keep_bound(active)

    async def _aprocess_view(self, request: HttpRequest, *args: Any) -> None:
        type(self).process_view(self, request, *args)

    def process_exception(self, _request: HttpRequest, exception: Exception) -> None:
        """Keep what a view raised."""
        active = request_trace()
        if active is not None:
            try:
                name, message = error_text(exception)
                active.error = f"{name}: {message}"[:500]
            except Exception as error:  # The application's exception is on its way; ours is not.
                failed("process_exception", error)


def request_trace() -> ActiveTrace | None:
    """Return the trace of the running request, None if it is not recorded."""
    active = context.current_trace()
    return active if active is not None and active.kind is Kind.REQUEST else None


def _left(buffer: Buffer | None, response: HttpResponse | None) -> None:
    """Note what leaves a request: *response* or an exception."""
    try:
        if buffer is not None:
            response_left(buffer, response)
    except Exception as error:
        failed("response", error)


def _described(active: ActiveTrace, request: HttpRequest, response: HttpResponse) -> HttpResponse:
    """Put what is known into the trace, and the header into the response."""
    keep_bound(active)
    try:
        active.http_status = _status_of(response)
        if active.http_status is None or active.http_status < SERVER_ERROR:
            # What was raised was an answer (Http404, PermissionDenied, BadRequest), not a failure.
            active.error = ""
        match = request.resolver_match
        _tell_route(active, match)
        active.name = request_name(request.method or "", None if match is None else match.route)
        tell_way(active, request, response)
        user = loaded_user(request)
        if user is not None:
            active.user_id = _user_key(user)
        if get_settings().header and not active.excluded and may_see_traces(request, user):
            response.headers[HEADER] = active.trace_id
        if sends_timing() and not active.excluded:
            _tell_timing(active, response)
    except Exception as error:
        failed("middleware", error)
    return response


def sends_timing() -> bool:
    """Return whether responses say how long they took."""
    chosen = get_settings().server_timing
    # What a project's tests compare is without it, with DEBUG as well.
    return chosen if chosen is not None else settings.DEBUG and not is_test_run()


def _tell_timing(active: ActiveTrace, response: HttpResponse) -> None:
    """Add ``Server-Timing`` to *response*, beside what is there.

    Of a response whose body is yet to be made, it says what is known at its start.
    """
    # Not before somebody asks for it: the worker has it, too.
    from tracing.instrumentation.assembly.assembler import sums_so_far

    metrics = {"total": _metric(active.duration_ns())}
    sums = sums_so_far(active)
    if sums is not None:
        calls, queries = plural(sums.receiver_calls, "call"), query_text(sums.queries)
        metrics["receivers"] = _metric(sums.signal_ns, calls)
        if get_settings().capture_sql:
            metrics["sql"] = _metric(sums.query_ns, queries)
    given = str(response.headers.get(SERVER_TIMING, ""))
    if metrics.keys().isdisjoint(_METRIC.findall(_QUOTED.sub("", given))):
        added = ", ".join(f"{name};{value}" for name, value in metrics.items())
        response.headers[SERVER_TIMING] = f"{given}, {added}" if given else added


def _metric(duration_ns: int, description: str = "") -> str:
    told = f';desc="{description}"' if description else ""
    return f"dur={duration_ns / 1_000_000:.2f}{told}"


_QUOTED: Final = re.compile(r'"(?:[^"\\]|\\.)*"')
_METRIC: Final = re.compile(r"(?:^|,)\s*([^\s,;]+)")
"""The name of each metric of a header without quoted text."""


def _tell_route(active: ActiveTrace, match: ResolverMatch | None) -> None:
    """Take the route's arguments out of the path, but numbers and UUIDs."""
    if match is None or active.is_routed:
        return
    try:
        # What its path holds, without what its route adds.
        values: Any = getattr(match, "captured_kwargs", match.kwargs) or match.args
        active.http_path = redact_path(active.http_path, match.route or "", values)
        active.is_routed = True
    except Exception as error:  # Else its path is read as one without a route.
        failed("route", error)


def _status_of(response: HttpResponse) -> int | None:
    """Return the status of *response*; None if it can have none."""
    status: object = response.status_code
    if not issubclass(type(status), int):
        return None
    number = int.__int__(status)  # type: ignore[arg-type]
    return number if 0 <= number < MOST_STATUS else None


MOST_STATUS: Final = 1_000
"""HTTP statuses have three digits."""


def _user_key(user: Any) -> str:
    """Return the primary key of *user* as it is kept, empty if it has none."""
    label, pk = instance_key(user)
    if pk is None:
        # Not of a model: it may say what it is called by all the same.
        pk = getattr(user, "pk", None)
        pk = None if pk is None else plain(pk)
    return "" if pk is None else key_text(label, pk)[:MAX_USER]


MAX_USER: Final = 64
"""Characters kept of a user's key."""


def loaded_user(request: HttpRequest) -> Any:
    """Return the user of *request*, if somebody has asked for it.

    Asking would load the session and the user: queries that the application does not make.
    """
    user = request.__dict__.get("user")
    if isinstance(user, LazyObject):
        wrapped = user.__dict__.get("_wrapped", empty)
        return None if wrapped is empty else wrapped
    return user


def may_see_traces(request: HttpRequest, user: Any) -> bool:
    """Return whether the viewer lets the sender in, without a query."""
    if (
        user is not None
        and getattr(user, "is_active", False)
        and getattr(user, "is_superuser", False)
    ):
        return True
    return bool(settings.DEBUG and request.META.get("REMOTE_ADDR") in settings.INTERNAL_IPS)
