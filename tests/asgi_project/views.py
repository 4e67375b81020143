"""Views of the project."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from typing import Any

from django.contrib.auth.models import User
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import render

from tests.asgi_project.signals import parcel_sent, parcel_weighed

meetings: dict[str, list[asyncio.Event]] = defaultdict(list)
"""Who waits for whom: the second of a pair wakes both."""


async def parcel(request: HttpRequest, customer: str) -> HttpResponse:
    """Send one parcel, and look into the database once."""
    await parcel_sent.asend_robust(sender=customer)
    users = await User.objects.acount()
    return render(request, "parcels/page.html", {"customer": customer, "users": users})


async def pair(request: HttpRequest, meeting: str, customer: str) -> HttpResponse:
    """Send a parcel, wait for the other request of the pair, and send another: they interleave."""
    await parcel_sent.asend(sender=customer)
    mine = asyncio.Event()
    meetings[meeting].append(mine)
    if len(meetings[meeting]) % 2 == 0:
        for event in meetings[meeting]:
            event.set()
    await asyncio.wait_for(mine.wait(), 120)
    await parcel_sent.asend(sender=customer)
    return render(request, "parcels/page.html", {"customer": customer})


def many(request: HttpRequest, count: int) -> HttpResponse:
    """Send *count* signals, each from a sender of its own, and as many from one."""
    for number in range(count):
        parcel_weighed.send(sender=f"customer {number}")
    for _ in range(count):
        parcel_weighed.send(sender="a regular")
    return render(request, "parcels/page.html", {"customer": f"{count} customers"})


def quiet(request: HttpRequest) -> HttpResponse:
    """Send nothing."""
    return render(request, "parcels/page.html", {"customer": "nobody"})


async def answer(request: HttpRequest, customer: str) -> JsonResponse:
    """Send a parcel and answer as an API does."""
    await parcel_sent.asend(sender=customer)
    return JsonResponse({"customer": customer})


async def failing(request: HttpRequest) -> HttpResponse:
    """Send a parcel that makes a receiver raise, and let it."""
    await parcel_sent.asend(sender="broken scales")
    raise AssertionError("not reached")


HOSTILE: Any = (
    '"><img src=x onerror=alert(1)><script>alert(2)</script> \u202eevil\u0000 \U0001f697'
    + "y" * 5_000
)


def hostile(request: HttpRequest) -> HttpResponse:
    """Send a signal whose sender would like to be HTML."""
    parcel_weighed.send(sender=HOSTILE)
    return render(request, "parcels/page.html", {"customer": "a hostile one"})
