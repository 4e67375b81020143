"""The experiments of the hall of hazards: each provokes one hazard, for real.

Receivers are connected for the length of an experiment. Those of models are connected for all the
world meanwhile; the others have a sender that nobody else has.
"""

from __future__ import annotations

import asyncio
import gc
import socket
import threading
from collections.abc import Coroutine
from contextlib import suppress
from decimal import Decimal
from typing import TYPE_CHECKING

from asgiref.sync import async_to_sync, sync_to_async
from django.contrib.auth.models import Group
from django.core import serializers
from django.db import transaction
from django.db.models.signals import post_init, post_save
from django.utils.text import slugify

from carsales.lab.experiments import new_order, new_user
from carsales.lab.receivers import connected
from carsales.lab.signals import hammer_fell, rumour_spread
from core.cars.models import Car

from . import receivers
from .receivers import HALL

if TYPE_CHECKING:
    from collections.abc import Sequence


class Auction:
    """A sender that one experiment has for itself."""


def _cars(count: int) -> list[Car]:
    """Return saved cars of the hall, written in one statement."""
    return Car.objects.bulk_create(  # tracing: known bypassed-receivers (only the scenery)
        Car(
            code=f"hall-of-hazards-{number}",
            make=HALL,
            model="Lot",
            year=2020,
            price=Decimal(1000),
        )
        for number in range(count)
    )


def _car(model: str) -> Car:
    """Return an unsaved car of the hall, with a code: to find one takes queries."""
    code = f"hall-of-hazards-{slugify(model)}"
    return Car(code=code, make=HALL, model=model, year=2020, price=Decimal(1000))


def connect_twice() -> None:
    """Connect one function under two uids and send once."""
    auction = Auction()
    uids = ("hall.first", "hall.second")
    try:
        for uid in uids:
            hammer_fell.connect(receivers.write_contract, sender=auction, dispatch_uid=uid)
        hammer_fell.send(auction)
    finally:
        for uid in uids:
            hammer_fell.disconnect(sender=auction, dispatch_uid=uid)


def spread_a_rumour() -> None:
    """Send a signal whose receiver sends it again."""
    rumour = receivers.Rumour()
    with connected(rumour_spread, receivers.pass_on, rumour):
        rumour_spread.send(rumour)


def save_what_is_saved() -> None:
    """Save a car that exists, with a receiver that saves it once more."""
    car = _car("Twice")
    car.save()
    with connected(post_save, receivers.polish, Car):
        car.save()


def save_one_by_one() -> None:
    """Save six cars in a loop."""
    with connected(post_save, receivers.count_stock, Car):
        for number in range(6):
            _car(f"Lot {number}").save()


def ask_one_by_one() -> None:
    """Send once, for six cars."""
    auction = Auction()
    cars = _cars(6)
    with connected(hammer_fell, receivers.look_up_each, auction):
        hammer_fell.send(auction, cars=cars)


def wait_for_a_report() -> None:
    """Send and wait."""
    auction = Auction()
    with connected(hammer_fell, receivers.build_report, auction):
        hammer_fell.send(auction)


def look_away() -> None:
    """Send robustly and do not look at the responses."""
    auction = Auction()
    with connected(hammer_fell, receivers.break_down, auction):
        hammer_fell.send_robust(auction)


def stop_at_the_first() -> None:
    """Send to two receivers of which the first raises."""
    auction = Auction()
    with (
        connected(hammer_fell, receivers.break_down, auction),
        connected(hammer_fell, receivers.take_note, auction),
        suppress(ConnectionError),
    ):
        hammer_fell.send(auction)


def call_too_early() -> None:
    """Call the registry in a transaction that then commits; nothing is written in it."""
    auction = Auction()
    with (
        socket.create_server(("127.0.0.1", 0)) as registry,
        connected(hammer_fell, receivers.call_registry, auction),
        transaction.atomic(),
    ):
        hammer_fell.send(auction, address=registry.getsockname())


def call_for_nothing() -> None:
    """Call the registry about a sale that is then taken back."""
    auction = Auction()
    with (
        socket.create_server(("127.0.0.1", 0)) as registry,
        connected(hammer_fell, receivers.call_registry, auction),
        transaction.atomic(),
    ):
        hammer_fell.send(auction, address=registry.getsockname())
        transaction.set_rollback(True)


def write_past_the_receivers() -> None:
    """Change the price of cars by `update()`."""
    _cars(3)
    Car.objects.filter(make=HALL).update(price=Decimal(2000))


def forget_the_clerk() -> None:
    """Connect a method of an object that nobody keeps, and send."""
    auction = Auction()
    clerk = receivers.Clerk()
    hammer_fell.connect(clerk.file_papers, sender=auction)
    del clerk
    gc.collect()
    hammer_fell.send(auction)


def load_a_fixture() -> None:
    """Load a car as `loaddata` does."""
    fixture = serializers.serialize("json", [_car("From a fixture")])
    with connected(post_save, receivers.compare_prices, Car):
        for loaded in serializers.deserialize("json", fixture):
            loaded.save()


def save_every_model() -> None:
    """Save rows of five models, with a receiver connected without a sender."""
    with connected(post_save, receivers.log_everything, None):
        user = new_user()  # and its buyer, by signal
        Group.objects.create(name=f"hall {user.username}")
        car = _car("Everything")
        car.save()
        new_order(car)


def fetch_a_list() -> None:
    """Fetch four cars in one query, and one more for each of them."""
    _cars(4)
    with connected(post_init, receivers.count_alike, Car):
        list(Car.objects.filter(make=HALL))


def send_inside_a_loop() -> None:
    """Send the sync way from async code to an async receiver."""
    auction = Auction()

    async def view() -> None:
        with suppress(RuntimeError):
            hammer_fell.send(auction)

    with connected(hammer_fell, receivers.notify_later, auction):
        async_to_sync(view)()


def hop_into_a_busy_thread() -> None:
    """Await a sync receiver while the thread it needs is at work for somebody else."""
    auction = Auction()

    async def view() -> None:
        async def send() -> None:
            await hammer_fell.asend(auction)

        async def end_the_work() -> None:
            await asyncio.sleep(0.03)
            is_done.set()

        # All sync code of a request shares one thread: the receiver waits for its turn.
        is_done = threading.Event()
        await asyncio.gather(sync_to_async(is_done.wait)(), send(), end_the_work())

    with connected(hammer_fell, receivers.take_note, auction):
        async_to_sync(view)()


def call_without_awaiting() -> None:
    """Connect an object with an async `__call__` and send."""
    auction = Auction()
    messenger = receivers.Messenger()
    with connected(hammer_fell, messenger, auction):
        responses: Sequence[tuple[object, object]] = hammer_fell.send(auction)
    # Python warns of a coroutine that is dropped. Here that is no news.
    for _receiver, response in responses:
        if isinstance(response, Coroutine):
            response.close()


def exceed_the_budget() -> None:
    """Send three times, where the settings of CarSales allow two."""
    auction = Auction()
    with connected(hammer_fell, receivers.ring_twice, auction):
        hammer_fell.send(auction, lot=1)
