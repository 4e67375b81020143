"""What kinds of processes have connected, for tests of those who compare it."""

from __future__ import annotations

import time

import msgspec

from tracing import models
from tracing.analysis.process_wiring import fingerprint_of
from tracing.spans.labels import ReceiverLabel
from tracing.spans.processes import Connected, WiringVersion

MINUTE = 60 * 1_000_000_000
HOUR = 60 * MINUTE
DAY = 24 * HOUR
POST_SAVE = "django.db.models.signals.post_save"


def connected(receiver, *, signal=POST_SAVE, sender="shop.Order", mine=True, **fields):
    """Return a connection of ``shop.receivers.<receiver>``, made by a line of shop/apps.py."""
    name = receiver if "." in receiver else f"shop.receivers.{receiver}"
    label = ReceiverLabel(name, "/srv/shop/receivers.py", 12, app="shop", mine=mine)
    made = {"file": "/srv/shop/apps.py", "line": 9, **fields}
    return Connected(signal, sender, label, **made)


def version(kind, *receivers, release="", first=2 * HOUR, last=0, started=None, now_ns=None):
    """Return what processes of a kind told, times given as how long ago that was."""
    now_ns = time.time_ns() if now_ns is None else now_ns
    connections = [connected(each) if type(each) is str else each for each in receivers]
    return WiringVersion(
        kind,
        release,
        fingerprint_of(connections),
        now_ns - first,
        now_ns - last,
        now_ns - (first if started is None else started),
        connections,
    )


def keep(*versions):
    """Store them."""
    for each in versions:
        values = msgspec.structs.asdict(each)
        values["connections"] = msgspec.json.encode(each.connections).decode()
        models.WiringVersion.objects.create(**values)
