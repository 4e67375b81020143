"""Digests that pair a redirect with the request that it leads to."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final
from urllib.parse import unquote, urljoin, urlsplit

from django.conf import settings

from tracing.instrumentation.attributes.redaction import digest
from tracing.units import SECOND_NS

if TYPE_CHECKING:
    from django.http import HttpRequest, HttpResponse

    from tracing.instrumentation.buffer import ActiveTrace
    from tracing.spans.records import Trace

LONGEST_NS: Final = 60 * SECOND_NS
"""From the start of a redirect to that of the request it led to."""
_SCHEMES: Final = frozenset({"", "http", "https"})
_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})


def tell_way(trace: ActiveTrace | Trace, request: HttpRequest, response: HttpResponse) -> None:
    """Keep in *trace* where the browser may come from and is sent.

    Only where there is a session. The cookies are read, never the session: that would add
    ``Vary: Cookie`` to the response.
    """
    name = settings.SESSION_COOKIE_NAME
    session = request.COOKIES.get(name, "")
    if request.method == "GET" and session:
        trace.arrival_key = _key(session, request.path)
    if response.status_code not in _REDIRECTS:
        return
    # Who logs in comes back with another session.
    given = response.cookies.get(name)
    session = given.value if given is not None and given.value else session
    location = urlsplit(urljoin(request.path, response.headers.get("Location", "")))
    is_here = location.scheme in _SCHEMES and location.netloc in {"", request.META.get("HTTP_HOST")}
    if session and is_here:
        trace.redirect_key = _key(session, unquote(location.path))


def _key(session: str, path: str) -> str:
    return digest(f"{session}\0{path}")
