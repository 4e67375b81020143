"""The experiments of the lab: each does something real and notes what happened.

Every one of them runs in a transaction that is rolled back when it is over, so nothing they make
or delete is there afterwards.
"""

from __future__ import annotations

import gc
import secrets
from collections import Counter
from contextlib import ExitStack, contextmanager
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from django.contrib.auth.models import User
from django.core import serializers
from django.db import transaction
from django.db.models.signals import m2m_changed, post_save, pre_delete, pre_save

from core.buyers.models import Buyer
from core.cars.models import Car
from core.orders.models import Order
from core.orders.signals import order_placed
from core.sales.models import Sale

from .findings import Findings
from .receivers import Watcher, bark, connected, open_door, refuse_sale, wake_up
from .signals import bell_rung

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@contextmanager
def rolled_back() -> Iterator[None]:
    """Undo everything that the block does to the database."""
    with transaction.atomic():
        try:
            yield
        finally:
            transaction.set_rollback(True)


def new_user() -> User:
    """Return a user with a name that nobody has and no password."""
    return User.objects.create_user(f"lab-{secrets.token_hex(6)}", first_name="Lab")


def new_car(model: str = "Test", price: int = 1000) -> Car:
    """Return a saved car of the lab's own."""
    return Car.objects.create(make="Lab", model=model, year=2020, price=Decimal(price))


def new_order(*cars: Car) -> Order:
    """Return a new buyer's open order with *cars* in it."""
    order = Order.objects.create(buyer=new_user().buyer)
    order.cars.add(*cars)
    return order


def compare_pre_and_post_save() -> Findings:
    """Save a car and look at it in both signals."""
    seen: dict[str, tuple[object, ...]] = {}
    car = Car(make="Lab", model="Before and after", year=2020, price=Decimal(1000))

    def look_before(named: dict[str, Any]) -> None:
        there = Car.objects.filter(code=car.code).exists()
        seen["before"] = (car.pk, car.code, there, "created" in named)
        car.trim = "set in pre_save"

    def look_after(named: dict[str, Any]) -> None:
        there = Car.objects.filter(code=car.code).exists()
        seen["after"] = (car.pk, car.code, there, "created" in named)
        car.origin = "set in post_save"

    before, after = Watcher(car, look_before), Watcher(car, look_after)
    with connected(pre_save, before.notice, Car), connected(post_save, after.notice, Car):
        car.save()
    stored = Car.objects.get(pk=car.pk)
    questions = ("Primary key", "Code", "Row in the database", "Argument created is sent")
    findings = Findings(("", "in pre_save", "in post_save"))
    for question, *answers in zip(questions, seen["before"], seen["after"], strict=True):
        findings.add(question, *answers)
    findings.add(
        "A change made here is in the database",
        stored.trim == "set in pre_save",
        stored.origin == "set in post_save",
    )
    return findings


def compare_pre_save_and_save() -> Findings:
    """Write cars in five ways and see which of the two did its work."""
    blanks = "  Lab  "

    def unsaved(model: str) -> Car:
        return Car(make=blanks, model=model, year=2020, price=Decimal(1000))

    def by_save() -> None:
        unsaved("way 1").save()

    def by_create() -> None:
        Car.objects.create(make=blanks, model="way 2", year=2020, price=Decimal(1000))

    def by_fixture() -> None:
        fixture = serializers.serialize("json", [unsaved("way 3")])
        for car in serializers.deserialize("json", fixture):
            car.save()

    def by_bulk_create() -> None:
        Car.objects.bulk_create([unsaved("way 4")])

    def by_update() -> None:
        new_car("way 5")
        Car.objects.filter(model="way 5").update(make=blanks, code="")

    findings = Findings(("Way to write", "save() tidied the make", "pre_save gave a code"))
    for number, (name, write) in enumerate(
        (
            ("car.save()", by_save),
            ("Car.objects.create()", by_create),
            ("loading a fixture", by_fixture),
            ("Car.objects.bulk_create()", by_bulk_create),
            ("QuerySet.update()", by_update),
        ),
        start=1,
    ):
        # Two cars without a code cannot both stay: codes are unique.
        with rolled_back():
            write()
            car = Car.objects.get(model=f"way {number}")
            findings.add(name, car.make == blanks.strip(), bool(car.code))
    return findings


def follow_m2m_changed() -> Findings:
    """Change the cars of an order in every way, from both sides."""
    first, second, third = new_car("A", 1000), new_car("B", 2000), new_car("C", 4000)
    order = new_order()
    actions: list[str] = []

    def look(named: dict[str, Any]) -> None:
        actions.append(f"{named['action']}{' (reverse)' if named['reverse'] else ''}")

    findings = Findings(("Call", "Actions sent", "Cars", "Total"))
    from_order, from_car = Watcher(order, look), Watcher(first, look)
    through = Order.cars.through
    with (
        connected(m2m_changed, from_order.notice, through),
        connected(m2m_changed, from_car.notice, through),
    ):
        calls: tuple[tuple[str, Callable[[], None]], ...] = (
            ("order.cars.add(A, B)", lambda: order.cars.add(first, second)),
            ("order.cars.add(A)", lambda: order.cars.add(first)),
            ("order.cars.set([B, C])", lambda: order.cars.set([second, third])),
            ("order.cars.remove(C)", lambda: order.cars.remove(third)),
            ("A.orders.add(order)", lambda: first.orders.add(order)),
            ("A.orders.set([])", lambda: first.orders.set([])),
            ("A.orders.set([order])", lambda: first.orders.set([order])),
            ("A.orders.clear()", first.orders.clear),
            ("order.cars.clear()", order.cars.clear),
        )
        for name, call in calls:
            actions.clear()
            call()
            order.refresh_from_db()
            findings.add(
                name, ", ".join(actions) or "none", order.car_count, f"${order.total:,.0f}"
            )
    return findings


def follow_pre_delete() -> Findings:
    """Sell a car, cancel the sale and look before, during and after."""
    car = new_car("Returned")
    order = new_order(car)
    order.place()
    sale = Sale.objects.get(order=order)
    pk = sale.pk

    def state() -> tuple[object, ...]:
        order_now = Order.objects.get(pk=order.pk)
        car_now = Car.objects.get(pk=car.pk)
        buyer_now = Buyer.objects.get(pk=order.buyer_id)
        return (
            Sale.objects.filter(pk=pk).exists(),
            order_now.get_status_display(),
            "sold" if car_now.is_sold else "for sale",
            buyer_now.cars_bought,
        )

    before = state()
    during: list[object] = []
    watcher = Watcher(sale, lambda _named: during.extend(state()))
    # Connected after the receiver of sales, so it looks when that one is done.
    with connected(pre_delete, watcher.notice, Sale):
        sale.cancel()
    findings = Findings(("", "before", "at the end of pre_delete", "after"))
    questions = (
        "Row of the sale is there",
        "Status of the order",
        "The car is",
        "Cars of the buyer",
    )
    for question, *answers in zip(questions, before, during, state(), strict=True):
        findings.add(question, *answers)
    return findings


def make_users() -> Findings:
    """Make users in three ways and look for their buyers."""
    findings = Findings(("Way to make a user", "has a buyer", "made by the signal"))

    def note(way: str, user: User) -> None:
        buyer = Buyer.objects.filter(user=user).first()
        findings.add(way, buyer is not None, buyer.created_by_signal if buyer else None)

    note("User.objects.create_user()", new_user())
    user = User(username=f"lab-{secrets.token_hex(6)}")
    user.save()
    note("user.save()", user)
    user.save()
    note("user.save() again", user)
    (bulk,) = User.objects.bulk_create([User(username=f"lab-{secrets.token_hex(6)}")])
    note("User.objects.bulk_create()", bulk)
    Buyer.objects.of(bulk)
    note("the same, when Buyer.objects.of(user) asks", bulk)
    return findings


def weigh_signals() -> Findings:
    """Sell by signal, past the signal, and with a receiver that fails."""
    findings = Findings(("What was done", "Sale made", "Order is", "Who heard of it"))

    def note(what: str, order: Order, heard: str) -> None:
        order.refresh_from_db()
        made = Sale.objects.filter(order=order).exists()
        findings.add(what, made, order.get_status_display(), heard)

    order = new_order(new_car("One"))
    heard: Counter[str] = Counter()

    def count(sender: Any, **named: Any) -> None:  # noqa: ARG001
        if named["order"] is order:
            heard["order_placed"] += 1

    with connected(order_placed, count, Order):
        order.place()
    note("order.place()", order, "receivers of order_placed" if heard else "nobody")

    order = new_order(new_car("Two"))
    Order.objects.filter(pk=order.pk).update(status=Order.Status.ACTIVE)
    note("QuerySet.update(status=ACTIVE)", order, "nobody")

    order = new_order(new_car("Lemon"))
    with connected(post_save, refuse_sale, Car):
        try:
            order.place()
        except RuntimeError as error:
            note("order.place(), one receiver broken", order, f"the caller: {error}")
    return findings


class Door:
    """Something that rings; every run of the experiment has doors of its own."""


class Guest:
    """Somebody who leaves again; the dispatcher does not hold guests back."""

    def greet(self, sender: Any, **named: Any) -> str:  # noqa: ARG002
        """Answer the bell, as long as one is there."""
        return "says hello"


def ring_bells() -> Findings:
    """Connect receivers in several ways and send."""
    front, back = Door(), Door()
    findings = Findings(("Call", "What came back"))

    def note(call: str, responses: list[tuple[Callable[..., Any], Any]]) -> None:
        answers = [
            f"{receiver.__name__}: {response if isinstance(response, str) else repr(response)}"
            for receiver, response in responses
        ]
        findings.add(call, "; ".join(answers) or "an empty list: nobody is connected")

    with ExitStack() as connections:
        note("send(front door), nothing connected", bell_rung.send(front, loudly=False))
        connections.enter_context(connected(bell_rung, open_door, front))
        connections.enter_context(connected(bell_rung, bark, front))
        note("send(front door)", bell_rung.send(front, loudly=True))
        note("send(back door): another sender", bell_rung.send(back, loudly=True))
        bell_rung.connect(open_door, sender=front)
        note("open_door connected once more, send", bell_rung.send(front, loudly=False))
        connections.enter_context(connected(bell_rung, wake_up, front))
        try:
            bell_rung.send(front, loudly=False)
        except TimeoutError as error:
            findings.add("wake_up connected, send", f"the caller gets TimeoutError: {error}")
        note("the same with send_robust", bell_rung.send_robust(front, loudly=False))

    guest = Guest()
    bell_rung.connect(guest.greet, sender=back)
    note("a method of a guest connected to the back door, send", bell_rung.send(back, loudly=False))
    del guest
    gc.collect()
    note("the same when the guest has gone", bell_rung.send(back, loudly=False))
    return findings
