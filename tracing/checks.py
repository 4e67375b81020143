"""System checks: what is set up wrongly, said before it is missed."""

from __future__ import annotations

from typing import Any

from django.apps import apps
from django.conf import settings as django_settings
from django.core.checks import CheckMessage, Tags, register
from django.core.checks import Warning as CheckWarning
from django.urls import NoReverseMatch, reverse

from tracing.analysis.hazards import current
from tracing.capture.instrumentation import sends_are_verified
from tracing.conf import get_settings, read, store_alias

MIDDLEWARE = "tracing.middleware.TracingMiddleware"
ROUTER = "tracing.routers.TracingRouter"


@register(Tags.compatibility)
def check_settings(**_kwargs: Any) -> list[CheckMessage]:
    """Check the dictionary TRACING (tracing.W001, tracing.W002)."""
    problems = read(getattr(django_settings, "TRACING", {}))[1]
    return [CheckWarning(message, hint=hint, id=check_id) for check_id, message, hint in problems]


@register(Tags.compatibility)
def check_hazards(**_kwargs: Any) -> list[CheckMessage]:
    """Check the settings of the hazard rules (tracing.W008)."""
    return [
        CheckWarning(
            f"TRACING: {problem}.",
            hint="What is wrong is left out, the defaults are used: docs/hazards/index.md.",
            id="tracing.W008",
        )
        for problem in current().problems
    ]


@register(Tags.compatibility)
def check_store(**_kwargs: Any) -> list[CheckMessage]:
    """Check that the store's alias and router fit (tracing.W003, tracing.W004)."""
    found: list[CheckMessage] = []
    if "database" not in get_settings().exporters:
        return found
    alias = store_alias()
    if alias not in django_settings.DATABASES:
        return [
            CheckWarning(
                f"TRACING['DATABASE'] names {alias!r}, which is not in DATABASES.",
                hint=f"Add a database {alias!r} or name one of: {', '.join(django_settings.DATABASES)}.",
                id="tracing.W003",
            )
        ]
    if alias != "default" and ROUTER not in django_settings.DATABASE_ROUTERS:
        found.append(
            CheckWarning(
                f"The traces have a database of their own, {alias!r}, but no router leads there.",
                hint=f"Add {ROUTER!r} to DATABASE_ROUTERS.",
                id="tracing.W004",
            )
        )
    return found


@register(Tags.compatibility)
def check_middleware(**_kwargs: Any) -> list[CheckMessage]:
    """Check that the middleware is there, first (tracing.W005)."""
    if MIDDLEWARE in django_settings.MIDDLEWARE:
        return []
    return [
        CheckWarning(
            "Request traces will have no route, status or user: the middleware is missing.",
            hint=f"Put {MIDDLEWARE!r} first in MIDDLEWARE.",
            id="tracing.W005",
        )
    ]


@register(Tags.compatibility)
def check_django(**_kwargs: Any) -> list[CheckMessage]:
    """Check that the dispatcher of this Django was verified (tracing.W006)."""
    if sends_are_verified():
        return []
    import django

    return [
        CheckWarning(
            f"The dispatcher of Django {django.get_version()} was not verified: dispatches are recorded"
            " without the times of their receivers.",
            hint="Upgrade tracing, or run its conformance tests against this release.",
            id="tracing.W006",
        )
    ]


@register(Tags.compatibility)
def check_panel(**_kwargs: Any) -> list[CheckMessage]:
    """Check that the panel is listed if the toolbar is installed (tracing.W007)."""
    if not apps.is_installed("debug_toolbar"):
        return []
    panels = getattr(django_settings, "DEBUG_TOOLBAR_PANELS", None)
    if panels is not None and "tracing.panels.SignalTracePanel" in panels:
        return []
    return [
        CheckWarning(
            "The debug toolbar is installed without the signal trace panel.",
            hint="Add 'tracing.panels.SignalTracePanel' to DEBUG_TOOLBAR_PANELS.",
            id="tracing.W007",
        )
    ]


@register(Tags.compatibility)
def check_viewer(**_kwargs: Any) -> list[CheckMessage]:
    """Check that the viewer of a development server can be opened (tracing.W009)."""
    if not django_settings.DEBUG or django_settings.INTERNAL_IPS:
        return []
    try:
        reverse("tracing:traces")
    except NoReverseMatch:
        return []
    return [
        CheckWarning(
            "INTERNAL_IPS is empty: the viewer asks for a staff user, on your own machine too.",
            hint='Set INTERNAL_IPS = ["127.0.0.1", "::1"] where DEBUG is on.',
            id="tracing.W009",
        )
    ]
