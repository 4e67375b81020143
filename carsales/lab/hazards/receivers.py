"""Receivers with a hazard each, which the hall of hazards connects for one experiment.

The signals of models reach the receivers for other visitors' rows as well, so those that do
something look at the hall's own rows only.
"""

from __future__ import annotations

import socket
import time
from typing import TYPE_CHECKING, Any

from carsales.lab.signals import hammer_fell, rumour_spread
from core.cars.models import Car

if TYPE_CHECKING:
    from collections.abc import Iterable

    from django.db.models import Model

HALL = "Hall of hazards"
"""The make of the cars that the hall saves."""

SLOW_SECONDS = 0.15
"""Above the 100 ms from which a receiver is called slow."""

RUMOUR_ROUNDS = 5
"""How often a rumour goes round before everybody has heard it."""


def _is_ours(instance: Model) -> bool:
    """Say whether a car is the hall's; asks no deferred field, which would query."""
    return instance.__dict__.get("make") == HALL


def write_contract(sender: Any, **named: Any) -> str:
    """Write one contract; connected twice it writes two."""
    return "one contract"


class Rumour:
    """Something that is told from one to the next, and back."""

    def __init__(self) -> None:
        self.told = 0


def pass_on(sender: Rumour, **named: Any) -> None:
    """Tell it to everybody, oneself included."""
    sender.told += 1
    if sender.told < RUMOUR_ROUNDS:
        rumour_spread.send(sender)


def polish(sender: type[Car], instance: Car, **named: Any) -> None:
    """Note that the car was polished, by a whole second save."""
    if _is_ours(instance) and instance.trim != "polished":
        instance.trim = "polished"
        instance.save()


def count_stock(sender: type[Car], instance: Car, **named: Any) -> None:
    """Do for one car what would need doing once for all of them."""


def look_up_each(sender: Any, cars: Iterable[Car], **named: Any) -> list[bool]:
    """Ask the database about every car by itself."""
    return [Car.objects.filter(pk=car.pk, buyer=None).exists() for car in cars]


def build_report(sender: Any, **named: Any) -> None:
    """Take long, while the sender waits."""
    time.sleep(SLOW_SECONDS)


def break_down(sender: Any, **named: Any) -> None:
    """Fail."""
    raise ConnectionError("the auction house does not answer")


def take_note(sender: Any, **named: Any) -> str:
    """Run, if nobody fails before."""
    return "noted"


def call_registry(sender: Any, address: tuple[str, int], **named: Any) -> None:
    """Open a connection to the vehicle registry at once."""
    socket.create_connection(address, timeout=1).close()


class Clerk:
    """Somebody whom nobody but a signal knows, which holds him weakly."""

    def file_papers(self, sender: Any, **named: Any) -> None:
        """File the papers, which never happens."""


def compare_prices(sender: type[Car], instance: Car, **named: Any) -> None:
    """Query, even while a fixture is loaded."""
    if _is_ours(instance):
        Car.objects.filter(make=HALL, price__lt=instance.price).exists()


def log_everything(sender: Any, **named: Any) -> None:
    """Hear of every model there is."""


def count_alike(sender: type[Car], instance: Car, **named: Any) -> None:
    """Query for each car that is made or fetched."""
    if _is_ours(instance):
        instance.alike = Car.objects.filter(  # type: ignore[attr-defined]
            make=HALL
        ).count()


async def notify_later(sender: Any, **named: Any) -> None:
    """Be awaited, by somebody who can."""


class Messenger:
    """An object that Django takes for a sync receiver."""

    async def __call__(self, sender: Any, **named: Any) -> None:
        """Deliver the message, which never happens."""


def ring_twice(sender: Any, **named: Any) -> None:
    """Let the hammer fall again for each of two more lots."""
    if named.get("lot") == 1:
        hammer_fell.send(sender, lot=2)
        hammer_fell.send(sender, lot=3)
