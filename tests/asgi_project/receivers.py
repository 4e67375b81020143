"""Receivers of the project: sync, async, nested, slow, failing."""

from __future__ import annotations

import hashlib
from typing import Any

from django.contrib.auth.models import User
from django.dispatch import receiver

from tests.asgi_project.signals import parcel_sent, parcel_weighed


@receiver(parcel_sent)
def weigh(sender: Any, **named: Any) -> None:
    hashlib.pbkdf2_hmac("sha256", b"parcel", b"scales", 2_000)
    parcel_weighed.send(sender=sender)


@receiver(parcel_sent)
async def notify(sender: Any, **named: Any) -> str:
    await User.objects.acount()
    return "notified"


@receiver(parcel_sent, sender="nobody")
def never_called(**named: Any) -> None:
    pass


@receiver(parcel_weighed)
def note(sender: Any, **named: Any) -> None:
    if sender == "broken scales":
        raise ValueError("The scales say <b>nothing</b>.")
