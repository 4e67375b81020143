"""Who may see and do what in the viewer: nobody, unless one of two rules lets them."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING

from django.conf import settings

if TYPE_CHECKING:
    from django.http import HttpRequest


class Permission(StrEnum):
    """A permission of the model ``tracing.Trace``."""

    VIEW = "view_trace"
    SOURCE = "view_source"
    PRUNE = "prune_trace"
    PAUSE = "pause_recorder"
    ANNOTATE = "annotate_trace"


def is_developer(request: HttpRequest) -> bool:
    """Return whether DEBUG is on and the request comes from one of INTERNAL_IPS."""
    return bool(settings.DEBUG) and request.META.get("REMOTE_ADDR") in settings.INTERNAL_IPS


def is_allowed(request: HttpRequest, permission: Permission) -> bool:
    """Return whether the sender of *request* has *permission* in the viewer.

    A developer has all of them. Anybody else must be active staff, may see traces at all, and has
    each further permission separately.
    """
    if is_developer(request):
        return True
    user = getattr(request, "user", None)
    if user is None or not user.is_active or not user.is_staff:
        return False
    needed = {f"tracing.{Permission.VIEW}", f"tracing.{permission}"}
    return all(user.has_perm(name) for name in sorted(needed))
