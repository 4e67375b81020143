"""The base of pages: permissions, no caching, HTML or JSON."""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Final
from urllib.parse import urlsplit

from django.apps import apps
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.core.serializers.json import DjangoJSONEncoder
from django.db import DatabaseError, InternalError, OperationalError
from django.http import Http404, HttpResponse
from django.shortcuts import resolve_url
from django.urls import NoReverseMatch, Resolver404, get_script_prefix, resolve, reverse
from django.utils import timezone
from django.utils.cache import patch_cache_control, patch_vary_headers
from django.utils.connection import ConnectionDoesNotExist
from django.utils.decorators import method_decorator
from django.views import View
from django.views.decorators.csrf import csrf_protect

from tracing.clocks import time
from tracing.conf import get_settings, store_alias
from tracing.presentation.templating import (
    ENGINE_HINT,
    SHOW,
    missing_engine,
    remember_choice,
    respond,
    shows_everything,
)
from tracing.routers import misplaced
from tracing.spans.escapes import escape_json
from tracing.store import deadlines
from tracing.store.availability import has_tables, waits_for_migration
from tracing.store.choice import NotAnsweredError, asks_clickhouse
from tracing.store.embedded import makes_tables
from tracing.units import parse_timestamp
from tracing.viewer.access import NotPermittedError, Permission, is_allowed, lacking, username

if TYPE_CHECKING:
    from collections.abc import Mapping

    from django.http import HttpRequest
    from django.http.response import HttpResponseBase

SAFE_METHODS: Final = frozenset({"GET", "HEAD", "OPTIONS"})
LONGEST_SECONDS: Final = 86_400
LONGEST_ID: Final = 18
"""Digits that surely fit into 64 bits."""


def max_seconds() -> float:
    """Return how long a page may take: ``TRACING["VIEWER"]["MAX_SECONDS"]``."""
    return float(min(get_settings().viewer.max_seconds, LONGEST_SECONDS))


def read_since(given: str, default: str) -> tuple[str, int | None]:
    """Return the beginning of the shown time, as text and in ns.

    *default* replaces what is no time. Nothing given is all time.

    Nothing given is all time.
    """
    now_ns = time.time_ns()
    try:
        return given, parse_timestamp(given, now_ns) if given else None
    except ValueError:
        return default, parse_timestamp(default, now_ns)


def whole_number(text: str | None) -> int | None:
    """Return the number that *text* of an address is, or None."""
    is_number = text and text.isascii() and text.isdecimal() and len(text) <= LONGEST_ID
    return int(text) if text and is_number else None


def sortable(columns: Mapping[str, str], order: str) -> dict[str, dict[str, str]]:
    """Return name, title, next order and state of each of *columns*, by name.

    Args:
        columns: The titles by name.
        order: The name of the one that is sorted by, with ``-`` for descending.
    """
    return {
        name: {
            "name": name,
            "title": title,
            "next": name if order == f"-{name}" else f"-{name}",
            "sorted": {f"-{name}": "descending", name: "ascending"}.get(order, "none"),
        }
        for name, title in columns.items()
    }


def store_problem() -> str | None:
    """Return why the store cannot be asked; None if it can.

    Empty if its tables are missing, or are those of an earlier release.
    """
    if wrong := misplaced():
        return wrong
    alias = store_alias()
    try:
        return "" if not has_tables(alias) or waits_for_migration(alias) else None
    except DatabaseError as error:
        return str(error) or type(error).__name__


def login_url() -> str:
    """Return the project's log-in page or, without one, the admin's."""
    url = resolve_url(settings.LOGIN_URL)
    path = urlsplit(url).path
    if urlsplit(url).netloc:
        return url
    try:
        resolve(f"/{path.removeprefix(get_script_prefix())}")
    except Resolver404:
        # A new project names /accounts/login/ and has nothing there.
        with suppress(NoReverseMatch):
            return reverse("admin:login")
    return url


RANGES: Final = (("1h", "last hour"), ("24h", "24 hours"), ("7d", "7 days"), ("", "all"))
"""Times that pages offer, as ``?since=`` has them."""
_NOT_KEPT: Final = frozenset({SHOW, "before", "after", "start", "last"})
"""Parameters that mean another place in what the switch changes."""


@dataclass(slots=True, frozen=True)
class Switch:
    """The switch between *mine* and *everything*."""

    everything: bool
    kept: list[tuple[str, str]]
    """The other parameters of the page's address."""


# The token of a form is asked for where the project has no middleware that does, too.
@method_decorator(csrf_protect, name="dispatch")
class Page(View):
    """A page that answers in HTML or JSON."""

    permission: ClassVar[Permission] = Permission.VIEW
    """What one must be allowed to see it."""
    changing: ClassVar[Permission] = Permission.VIEW
    """What one must be allowed in addition to POST to it."""
    template_name: ClassVar[str] = ""
    seconds: ClassVar[float | None] = None
    """How long an answer may take; None for what the settings say."""
    section: ClassVar[str] = ""
    """Which entry of the navigation it belongs to."""
    has_switch = False
    """It shows what is mine or everything, as was chosen."""

    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        """Answer *request* if its sender may."""
        self.output = kwargs.pop("output", "")
        if is_allowed(request, self.permission):
            response = self.guarded(request, *args, **kwargs)
        else:
            response = self.refused(request)
        if self.has_switch and not (self.wants_part or self.wants_json):
            remember_choice(request, response)
        patch_cache_control(response, private=True, no_store=True)
        patch_vary_headers(response, ["Accept", "Cookie", "HX-Request"])
        return response

    def guarded(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        """Answer *request* in the time for a page, or say why not."""
        seconds = self.seconds or max_seconds()
        changes = request.method not in SAFE_METHODS
        problem: str | None = None
        is_late = False
        try:
            with deadlines.reading(store_alias(), seconds, changes=changes) as deadline:
                try:
                    return self.answer(request, *args, **kwargs)
                except (DatabaseError, ConnectionDoesNotExist, ImproperlyConfigured) as error:
                    is_late = deadline.is_over() or isinstance(error, deadlines.TimeUpError)
                    problem = None if is_late else store_problem()
                    if problem is None and not is_late:
                        # Locked, read-only, out of space: not for us to mend.
                        if not isinstance(error, OperationalError | InternalError):
                            raise
                        problem = str(error)
        except ConnectionDoesNotExist:
            problem = store_problem()
        except NotPermittedError as refusal:
            return self.denied(refusal.permission)
        except Http404 as error:
            return self.missing(str(error))
        except NotAnsweredError as error:
            return self.missing(str(error), status=501)
        # Here the application's own connection is back, and no deadline.
        return self.too_late(seconds) if is_late else self.store_unavailable(problem)

    def answer(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        """Answer *request* if its sender may change what it changes."""
        if request.method == "POST" and not is_allowed(request, self.changing):
            raise NotPermittedError(self.changing)
        return super().dispatch(request, *args, **kwargs)

    def refused(self, request: HttpRequest) -> HttpResponseBase:
        """Send a stranger to the log-in page, and refuse all others with 403."""
        user = getattr(request, "user", None)
        is_stranger = user is not None and not user.is_authenticated
        wants_page = not self.wants_json and "HX-Request" not in request.headers
        if is_stranger and wants_page and apps.is_installed("django.contrib.auth"):
            # Its module needs the models of django.contrib.auth, which may not be installed.
            from django.contrib.auth.views import redirect_to_login  # noqa: PLC0415 - see above.

            return redirect_to_login(request.get_full_path(), login_url())
        return self.denied(self.permission)

    def denied(self, permission: Permission) -> HttpResponse:
        """Say what is not permitted, and which permission is missing."""
        message, missing = str(NotPermittedError(permission)), lacking(self.request, permission)
        has_users = getattr(self.request, "user", None) is not None
        told = {"error": message, "missing": missing}
        page: dict[str, Any] = {
            "message": message,
            "missing": missing,
            "username": username(self.request),
            "has_users": has_users,
            "login_url": login_url() if has_users else "",
        }
        part = f"{message} Missing: {', '.join(missing)}."
        return self.refusal("tracing/denied.html", 403, told, part=part, **page)

    def missing(self, message: str, status: int = 404) -> HttpResponse:
        """Say that what was asked for is not stored, and where to go on.

        With 501 it is nothing that the chosen store has an answer to.
        """
        is_gone = status == 404  # noqa: PLR2004 - see above.
        page: dict[str, Any] = {
            "message": message,
            "is_gone": is_gone,
            "part": "" if is_gone else message,
        }
        return self.refusal("tracing/missing.html", status, {"error": message}, **page)

    def too_late(self, seconds: float) -> HttpResponse:
        """Say that the answer took too long, and what would be quicker."""
        message = f"This took longer than {seconds:g} s and was stopped."
        advice = (
            "Narrow it by a time (since:1h), a kind, or the name of a signal or receiver. "
            'TRACING["VIEWER"]["MAX_SECONDS"] is the limit.'
        )
        told = {"error": f"{message} {advice}"}
        page = {"message": message, "advice": advice}
        return self.refusal("tracing/too_late.html", 503, told, part=message, **page)

    def store_unavailable(self, problem: str | None) -> HttpResponse:
        """Say what to do about a store that is unreachable or not migrated."""
        alias = store_alias()
        if not problem and makes_tables(alias):
            # The first trace makes it.
            if self.wants_json:
                return self.json({"error": "Nothing has been recorded yet."}, 503)
            return self.page({}, "tracing/nothing_recorded.html")
        command = "manage.py migrate" + ("" if alias == "default" else f" --database {alias}")
        told = (
            f"The store cannot be reached: {problem}"
            if problem
            else f"The store is not there yet, or of an earlier release. Run {command}"
        )
        page: dict[str, Any] = {"command": command, "alias": alias, "problem": problem}
        page["is_clickhouse"] = asks_clickhouse()
        return self.refusal("tracing/no_store.html", 503, {"error": told}, **page)

    def refusal(
        self, template: str, status: int, told: dict[str, Any], *, part: str = "", **page: Any
    ) -> HttpResponse:
        """Return why there is no answer: as JSON, to htmx a *part*, or a page."""
        if self.wants_json:
            return self.json(told, status)
        if part and self.wants_part:
            return HttpResponse(part, status=status, content_type="text/plain; charset=utf-8")
        return self.page(page, template, status)

    @property
    def wants_json(self) -> bool:
        """Return whether JSON was asked for, by the address or the Accept header."""
        if self.output == "json":
            return True
        if self.request.headers.get("Accept", "*/*") in {"", "*/*"}:
            return False
        kinds = ["text/html", "application/json"]
        return self.request.get_preferred_type(kinds) == "application/json"

    @property
    def wants_part(self) -> bool:
        """Return whether htmx asks for a part of the page."""
        headers = self.request.headers
        return "HX-Request" in headers and "HX-History-Restore-Request" not in headers

    @property
    def everything(self) -> bool:
        """Return whether everything is shown: JSON always holds it."""
        return self.wants_json or shows_everything(self.request)

    def switch(self) -> Switch | None:
        """Return the state of the switch; None for a page that has none."""
        if not self.has_switch:
            return None
        kept = [
            (name, value)
            for name, values in self.request.GET.lists()
            if name not in _NOT_KEPT
            for value in values
        ]
        return Switch(shows_everything(self.request), kept)

    def may(self, permission: Permission) -> bool:
        """Return whether the sender of this request has *permission*."""
        return is_allowed(self.request, permission)

    def frame(self) -> dict[str, Any]:
        """Return what the frame of every page needs."""
        return {
            "section": self.section,
            "is_part": self.wants_part,
            "switch": self.switch(),
            "time_zone": timezone.get_current_timezone_name(),
            "may_annotate": self.may(Permission.ANNOTATE),
            "may_pause": self.may(Permission.PAUSE),
            "may_prune": self.may(Permission.PRUNE),
            "may_see_source": self.may(Permission.SOURCE),
            "debug": settings.DEBUG,
            "notice": f"{problem} {ENGINE_HINT}" if (problem := missing_engine()) else "",
        }

    def page(self, context: dict[str, Any], template: str = "", status: int = 200) -> HttpResponse:
        """Return the page with *context* in its frame."""
        return respond(
            self.request, template or self.template_name, {**self.frame(), **context}, status=status
        )

    def json(self, document: dict[str, Any], status: int = 200) -> HttpResponse:
        """Return *document* as JSON."""
        text = json.dumps(document, cls=DjangoJSONEncoder, ensure_ascii=False)
        return HttpResponse(escape_json(text).encode(), "application/json", status)
