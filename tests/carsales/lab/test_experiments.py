"""Tests of what the experiments find, and that nothing of them stays."""

from __future__ import annotations

import pytest
from django.contrib.auth.models import User
from django.db import IntegrityError
from django.db.models.signals import m2m_changed, post_save, pre_delete, pre_save

from carsales.lab.experiments import rolled_back
from carsales.lab.lessons import LESSONS
from carsales.lab.recording import run
from carsales.lab.signals import bell_rung
from core.cars.models import Car
from core.orders.models import Order
from core.orders.signals import order_placed
from core.sales.models import Sale

pytestmark = pytest.mark.django_db

BY_SLUG = {lesson.slug: lesson for lesson in LESSONS}
SIGNALS = (m2m_changed, post_save, pre_delete, pre_save, bell_rung, order_placed)


def found(slug: str) -> dict[str, tuple[str, ...]]:
    return {row[0]: row[1:] for row in run(BY_SLUG[slug]).findings.rows}


@pytest.mark.parametrize("lesson", LESSONS, ids=lambda lesson: lesson.slug)
def test_an_experiment_leaves_nothing_behind(lesson):
    connected = [len(signal.receivers) for signal in SIGNALS]

    findings = run(lesson).findings

    assert findings.rows
    assert {len(row) for row in findings.rows} == {len(findings.columns)}
    assert [model.objects.count() for model in (User, Car, Order, Sale)] == [0, 0, 0, 0]
    # A dead receiver is removed with the next send.
    bell_rung.send(None)
    assert [len(signal.receivers) for signal in SIGNALS] == connected


def test_what_fails_in_an_experiment_is_rolled_back_as_well():
    with pytest.raises(IntegrityError), rolled_back():
        User.objects.bulk_create([User(username="ada"), User(username="ada")])

    assert not User.objects.exists()


def test_pre_save_and_post_save():
    rows = found("pre-save-and-post-save")

    code = rows.pop("Code")
    key = rows.pop("Primary key")
    assert code[0] == code[1]
    assert code[0].startswith("lab-before-and-after-2020-")
    assert (key[0], key[1].isdigit()) == ("none", True)
    assert rows == {
        "Row in the database": ("no", "yes"),
        "Argument created is sent": ("no", "yes"),
        "A change made here is in the database": ("yes", "no"),
    }


def test_pre_save_and_save():
    assert found("pre-save-and-save") == {
        "car.save()": ("yes", "yes"),
        "Car.objects.create()": ("yes", "yes"),
        "loading a fixture": ("no", "yes"),
        "Car.objects.bulk_create()": ("no", "no"),
        "QuerySet.update()": ("no", "no"),
    }


def test_m2m_changed():
    assert found("m2m-changed") == {
        "order.cars.add(A, B)": ("pre_add, post_add", "2", "$3,000"),
        "order.cars.add(A)": ("pre_add, post_add", "2", "$3,000"),
        "order.cars.set([B, C])": ("pre_remove, post_remove, pre_add, post_add", "2", "$6,000"),
        "order.cars.remove(C)": ("pre_remove, post_remove", "1", "$2,000"),
        "A.orders.add(order)": ("pre_add (reverse), post_add (reverse)", "2", "$3,000"),
        "A.orders.set([])": ("pre_remove (reverse), post_remove (reverse)", "1", "$2,000"),
        "A.orders.set([order])": ("pre_add (reverse), post_add (reverse)", "2", "$3,000"),
        "A.orders.clear()": ("pre_clear (reverse), post_clear (reverse)", "1", "$2,000"),
        "order.cars.clear()": ("pre_clear, post_clear", "0", "$0"),
    }


def test_pre_delete():
    assert found("pre-delete") == {
        "Row of the sale is there": ("yes", "yes", "no"),
        "Status of the order": ("Sold", "Open", "Open"),
        "The car is": ("sold", "for sale", "for sale"),
        "Cars of the buyer": ("1", "0", "0"),
    }


def test_user_and_buyer():
    assert found("user-and-buyer") == {
        "User.objects.create_user()": ("yes", "yes"),
        "user.save()": ("yes", "yes"),
        "user.save() again": ("yes", "yes"),
        "User.objects.bulk_create()": ("no", "none"),
        "the same, when Buyer.objects.of(user) asks": ("yes", "no"),
    }


def test_when_to_use_signals():
    assert found("when-to-use-signals") == {
        "order.place()": ("yes", "Sold", "receivers of order_placed"),
        "QuerySet.update(status=ACTIVE)": ("no", "Placed", "nobody"),
        "order.place(), one receiver broken": (
            "no",
            "Open",
            "the caller: this receiver does not like lemons",
        ),
    }


@pytest.mark.parametrize("debug", [False, True])
@pytest.mark.thorough
def test_sender_receiver_dispatcher(settings, debug):
    settings.DEBUG = debug
    nobody = "an empty list: nobody is connected"

    assert found("sender-receiver-dispatcher") == {
        "send(front door), nothing connected": (nobody,),
        "send(front door)": ("open_door: opens the door; bark: barks loudly",),
        "send(back door): another sender": (nobody,),
        "open_door connected once more, send": ("open_door: opens the door; bark: barks",),
        "wake_up connected, send": ("the caller gets TimeoutError: still asleep",),
        "the same with send_robust": (
            "open_door: opens the door; bark: barks; wake_up: TimeoutError('still asleep')",
        ),
        "a method of a guest connected to the back door, send": ("greet: says hello",),
        "the same when the guest has gone": (nobody,),
    }


@pytest.mark.parametrize(
    ("slug", "receiver"),
    [
        ("sender-receiver-dispatcher", "carsales.lab.receivers.open_door"),
        ("pre-save-and-post-save", "core.cars.receivers.give_code"),
        ("pre-save-and-save", "core.cars.receivers.give_code"),
        ("m2m-changed", "core.orders.receivers.count_cars"),
        ("pre-delete", "core.sales.receivers.reopen_order"),
        ("user-and-buyer", "core.buyers.receivers.create_buyer"),
        ("when-to-use-signals", "core.sales.receivers.make_sale"),
    ],
)
def test_the_trace_of_an_experiment_holds_the_receivers_it_is_about(slug, receiver):
    captured = run(BY_SLUG[slug]).captured

    assert captured.trace.name == f"lab: {slug}"
    assert receiver in {call.receiver.name for call in captured.receiver_calls}
