"""The middleware: what only the handling of a request knows about its trace.

Route, status and user are put into the trace; the viewer's and the toolbar's own requests are left
out of the store. Sync and async, whichever the project runs.
"""

from __future__ import annotations

import logging
from asyncio import CancelledError
from typing import TYPE_CHECKING, Any, Final

from asgiref.sync import iscoroutinefunction, markcoroutinefunction
from django.apps import apps
from django.conf import settings
from django.utils.functional import LazyObject, empty

from tracing.conf import get_settings
from tracing.instrumentation import context
from tracing.instrumentation.assembly.segments import SERVER_ERROR
from tracing.instrumentation.attributes.arguments import instance_key, plain
from tracing.instrumentation.attributes.redaction import key_text, redact_path
from tracing.instrumentation.attributes.values import error_text
from tracing.instrumentation.failures import failed
from tracing.instrumentation.scopes.handling import response_left
from tracing.instrumentation.scopes.requests import request_name
from tracing.log import keep_bound
from tracing.spans.records import Kind

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from django.http import HttpRequest, HttpResponse
    from django.urls import ResolverMatch

    from tracing.instrumentation.buffer import LiveTrace, Stream

OWN_NAMESPACES = frozenset({"tracing", "djdt"})
"""URL namespaces whose requests are about traces, not in them."""

HEADER = "Tracing-Trace-Id"

logger = logging.getLogger("tracing")


class TracingMiddleware:
    """Put route, status and user into the trace of each request. Belongs first in MIDDLEWARE."""

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

    def __call__(self, request: HttpRequest) -> Any:
        """Return the response to *request*, or an awaitable of it under ASGI."""
        if self.is_async:
            return self.__acall__(request)
        stream, live = context.current(), request_trace()
        try:
            response = self.get_response(request)
        except BaseException:
            _left(stream, None)
            raise
        _left(stream, response)  # type: ignore[arg-type]
        return response if live is None else _described(live, request, response)  # type: ignore[arg-type]

    async def __acall__(self, request: HttpRequest) -> HttpResponse:
        stream, live = context.current(), request_trace()
        try:
            response = await self.get_response(request)  # type: ignore[misc]
        except BaseException as error:
            if live is not None and isinstance(error, CancelledError | GeneratorExit):
                live.cancelled = True
            _left(stream, None)
            raise
        _left(stream, response)
        return response if live is None else _described(live, request, response)

    def process_view(self, request: HttpRequest, *_args: Any) -> None:
        """Leave out requests that are about traces, as soon as it is known that one is."""
        live = request_trace()
        if live is None:
            return
        match = request.resolver_match
        if match is not None:
            # Known now, and a long request is seen while it runs.
            live.name = request_name(request.method or "", match.route)
            if OWN_NAMESPACES.intersection(match.namespaces):
                live.excluded = True
            _tell_route(live, match)
        keep_bound(live)

    def process_exception(self, _request: HttpRequest, exception: Exception) -> None:
        """Keep what a view raised."""
        live = request_trace()
        if live is not None:
            try:
                name, message = error_text(exception)
                live.error = f"{name}: {message}"[:500]
            except Exception as error:  # The application's exception is on its way; ours is not.
                failed("process_exception", error)


def request_trace() -> LiveTrace | None:
    """Return the trace of the running request, None if it is not recorded."""
    live = context.current_trace()
    return live if live is not None and live.kind is Kind.REQUEST else None


def _left(stream: Stream | None, response: HttpResponse | None) -> None:
    """Note that *response* of the request of *stream*, or an exception in its place, leaves."""
    try:
        if stream is not None:
            response_left(stream, response)
    except Exception as error:
        failed("response", error)


def _described(live: LiveTrace, request: HttpRequest, response: HttpResponse) -> HttpResponse:
    """Put what is known at the end of a request into its trace, and the header into its response."""
    keep_bound(live)
    try:
        live.http_status = _status_of(response)
        if live.http_status is None or live.http_status < SERVER_ERROR:
            # What was raised was an answer (Http404, PermissionDenied, BadRequest), not a failure.
            live.error = ""
        match = request.resolver_match
        _tell_route(live, match)
        live.name = request_name(request.method or "", None if match is None else match.route)
        user = loaded_user(request)
        if user is not None:
            live.user_id = _user_key(user)
        if get_settings().header and not live.excluded and may_see_traces(request, user):
            response.headers[HEADER] = live.trace_id
    except Exception as error:
        failed("middleware", error)
    return response


def _tell_route(live: LiveTrace, match: ResolverMatch | None) -> None:
    """Take out of the path of a request what its route found in it, but for numbers and UUIDs."""
    if match is None or live.is_routed:
        return
    try:
        # What its path holds, without what its route adds.
        values: Any = getattr(match, "captured_kwargs", match.kwargs) or match.args
        live.http_path = redact_path(live.http_path, match.route or "", values)
        live.is_routed = True
    except Exception as error:  # Else its path is read as one without a route.
        failed("route", error)


def _status_of(response: HttpResponse) -> int | None:
    """Return the status of *response*; None for anything that a response cannot have."""
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
    """Return the user of *request* if somebody has asked for it already; None otherwise.

    Asking would load the session and the user: queries that the application does not make.
    """
    user = request.__dict__.get("user")
    if isinstance(user, LazyObject):
        wrapped = user.__dict__.get("_wrapped", empty)
        return None if wrapped is empty else wrapped
    return user


def may_see_traces(request: HttpRequest, user: Any) -> bool:
    """Return whether the viewer would let *request* of *user* in, judged without a query."""
    if (
        user is not None
        and getattr(user, "is_active", False)
        and getattr(user, "is_superuser", False)
    ):
        return True
    return bool(settings.DEBUG and request.META.get("REMOTE_ADDR") in settings.INTERNAL_IPS)
