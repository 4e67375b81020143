"""Facts about a run of pytest that several of its hooks ask."""

from __future__ import annotations

import importlib.util
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pytest


def django_is_configured() -> bool:
    """Return whether this project's Django settings are known by now."""
    if importlib.util.find_spec("django") is None:
        return False
    from django.apps import apps  # noqa: PLC0415 - only projects that have Django pay for it.

    return apps.ready


def node_id(item: pytest.Item) -> str:
    """Return the id of a test without the group that xdist appends in workers."""
    group = item.get_closest_marker("xdist_group")
    if group is not None and item.config.getoption("dist", default="") == "loadgroup":
        return item.nodeid.rpartition("@")[0] or item.nodeid
    return item.nodeid


def shared_name(fixturedef: pytest.FixtureDef[Any]) -> str:
    """Return the name of a fixture of several tests, or of its class."""
    if fixturedef.argname.startswith("_"):
        return fixturedef.baseid or fixturedef.argname
    return f"{fixturedef.baseid}::{fixturedef.argname}".removeprefix("::")
