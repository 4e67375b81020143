"""Requests as the site's middleware and decorators leave them, for annotations."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.http import HttpRequest

if TYPE_CHECKING:
    from django.contrib.auth.models import User
    from django_htmx.middleware import HtmxDetails


class HtmxRequest(HttpRequest):
    """A request that knows whether htmx sent it."""

    htmx: HtmxDetails


class UserRequest(HttpRequest):
    """A request behind `login_required`: somebody is logged in."""

    user: User
