"""Permissions of the viewer: nobody's, unless one of two rules grants."""

from __future__ import annotations

from enum import StrEnum
from ipaddress import ip_address
from typing import TYPE_CHECKING, Final

from django.conf import settings
from django.core.exceptions import PermissionDenied
from django.http.request import split_domain_port

if TYPE_CHECKING:
    from django.http import HttpRequest

MAX_USERNAME: Final = 150
"""Characters that ``created_by`` and ``changed_by`` have room for."""


class Permission(StrEnum):
    """A permission of ``tracing``.

    Those of searches are Django's own of ``SavedSearch``; the others are of ``Trace``.
    """

    VIEW = "view_trace"
    SOURCE = "view_source"
    PRUNE = "prune_trace"
    PAUSE = "pause_recorder"
    ANNOTATE = "annotate_trace"
    ADD_SEARCH = "add_savedsearch"
    CHANGE_SEARCH = "change_savedsearch"
    DELETE_SEARCH = "delete_savedsearch"


ALLOWS: Final = {
    Permission.VIEW: "see traces",
    Permission.SOURCE: "see the source of receivers",
    Permission.PRUNE: "prune traces",
    Permission.PAUSE: "pause and resume recording",
    Permission.ANNOTATE: "pin traces, keep notes and mark hazards as known",
    Permission.ADD_SEARCH: "save searches",
    Permission.CHANGE_SEARCH: "replace the saved searches of others",
    Permission.DELETE_SEARCH: "delete the saved searches of others",
}
"""What one may do with each, as the end of a sentence."""


class NotPermittedError(PermissionDenied):
    """The sender of a request lacks a permission.

    Args:
        permission: What is lacking.
    """

    def __init__(self, permission: Permission) -> None:
        super().__init__(f"You may not {ALLOWS[permission]}.")
        self.permission = permission


FORWARDING: Final = ("FORWARDED", "VIA", "X_FORWARDED_FOR", "X_FORWARDED_HOST", "X_REAL_IP")
"""Headers, as in ``META``, that a proxy adds: behind one, everybody comes from its address."""


def is_developer(request: HttpRequest) -> bool:
    """Return whether a request comes from INTERNAL_IPS while DEBUG is on.

    Where that is empty, as in a new project, the machine itself is meant.
    """
    if not settings.DEBUG:
        return False
    if settings.INTERNAL_IPS:
        return request.META.get("REMOTE_ADDR") in settings.INTERNAL_IPS
    return is_local(request)


def is_local(request: HttpRequest) -> bool:
    """Return whether a request was sent on and to this machine, unproxied."""
    if any(f"HTTP_{name}" in request.META for name in FORWARDING):
        return False
    # The name in Host as well: a page elsewhere whose name leads here would be let in otherwise.
    host = split_domain_port(request.META.get("HTTP_HOST", ""))[0].strip("[]")
    return _is_loopback(request.META.get("REMOTE_ADDR", "")) and (
        host == "localhost" or _is_loopback(host)
    )


def _is_loopback(address: str) -> bool:
    try:
        return ip_address(address).is_loopback
    except ValueError:
        return False


def is_allowed(request: HttpRequest, permission: Permission) -> bool:
    """Return whether the sender of *request* has *permission* in the viewer.

    A developer has all of them. Anybody else must be active staff, may see traces at all, and has
    each further permission separately.
    """
    return is_developer(request) or not lacking(request, permission)


def lacking(request: HttpRequest, permission: Permission) -> list[str]:
    """Return what the sender lacks to have *permission*, in Django's words."""
    user = getattr(request, "user", None)
    # A project's own model of users need not have all that Django's has.
    flags = [name for name in ("is_active", "is_staff") if not getattr(user, name, False)]
    needed = dict.fromkeys((f"tracing.{Permission.VIEW}", f"tracing.{permission}"))
    has_perm = getattr(user, "has_perm", None)
    return flags + [name for name in needed if has_perm is None or not has_perm(name)]


def username(request: HttpRequest) -> str:
    """Return the name of the user of *request*, cut; empty without one."""
    user = getattr(request, "user", None)
    if not getattr(user, "is_authenticated", False):
        return ""
    return str(user.get_username())[:MAX_USERNAME]  # type: ignore[union-attr]  # it is a user.
