"""Tests of the seven questions: each finds its answer in what `make demo` records."""

from __future__ import annotations

import pytest
from django.core.management import call_command
from django.urls import reverse

import tracing
from carsales.demo import receivers
from carsales.demo.incidents import PaymentRefusedError, sell_by_phone
from carsales.demo.management.commands.simulate import client_in_process
from carsales.demo.questions import QUESTIONS
from carsales.demo.simulation import Simulation
from core.cars.models import Car
from core.orders.models import Order
from core.orders.signals import order_placed
from tests.tracing.command_line import run
from tracing import setup
from tracing.models import HazardOccurrence, Trace

pytestmark = pytest.mark.django_db(transaction=True, databases="__all__")

ANSWERS = [
    "make_sale",
    "Why did this run",
    "core/",
    "mail_contract",
    "rolled-back-side-effect",
    "bypassed-receivers",
    "mail_contract",
]
"""What the page that answers each question says, among other things."""

TOLD = {"Why did this run": "make_sale"}
"""What the terminal says instead."""


@pytest.fixture
def cars():
    """Return cars that are for sale."""
    return [
        Car.objects.create(
            make="Saab", model=f"9{n}", year=1993, price=9_000 + n, body_style="sedan"
        )
        for n in range(12)
    ]


@pytest.fixture
def release_1_1():
    """Connect what release 1.1 brought."""
    receivers.connect()
    yield
    for uid in ("demo.mail_contract", "demo.offer_alike"):
        order_placed.disconnect(sender=Order, dispatch_uid=uid)


def sell(settings, release, sales):
    settings.TRACING = {**settings.TRACING, "RELEASE": release}
    setup.configure()
    Simulation(client_in_process(), sales=sales, seed=1).run()
    assert tracing.flush(60)


@pytest.fixture
def demo(recording, settings, cars, request):
    """Record what `make demo` records, in small; return the newest trace as the command tells it."""
    settings.DEBUG, settings.INTERNAL_IPS = True, []
    sell(settings, "1.0", 2)
    request.getfixturevalue("release_1_1")
    sell(settings, "1.1", 1)
    call_command("incidents", verbosity=0)
    assert tracing.flush(60)
    return run("show", "last")


@pytest.mark.thorough
def test_each_question_is_one_click_and_one_command_from_its_answer(demo, admin_client):
    kinds = set(HazardOccurrence.objects.values_list("hazard__hazard", flat=True))
    assert {"rolled-back-side-effect", "bypassed-receivers", "n-plus-one"} <= kinds
    assert Trace.objects.filter(failed=True, label__name="sale by telephone").exists()
    # The first thing that the README has a newcomer ask.
    assert "block sale by telephone" in demo

    front = admin_client.get("/").content.decode()

    for number, (question, answer) in enumerate(zip(QUESTIONS, ANSWERS, strict=True), start=1):
        link = reverse("demo:question", args=[number])
        page = admin_client.get(link, follow=True)
        assert link in front
        assert question.text.replace("'", "&#x27;") in front
        assert page.redirect_chain, question.text
        assert page.status_code == 200
        assert answer in page.content.decode().replace("<wbr>", ""), question.text
        command = question.answer().command
        assert TOLD.get(answer, answer) in run(*command.split()[1:]), command


@pytest.mark.thorough
def test_a_sale_by_telephone_leaves_nothing_behind(
    cars, django_user_model, mailoutbox, release_1_1
):
    django_user_model.objects.create_user("caller")

    with pytest.raises(PaymentRefusedError):
        sell_by_phone()

    assert not Order.objects.exists()
    assert Car.objects.available().count() == len(cars)
    assert [mail.subject for mail in mailoutbox] == ["Your contract"]


def test_a_question_without_traces_says_how_to_record_some(client, settings):
    settings.DEBUG, settings.INTERNAL_IPS = True, []

    page = client.get(reverse("demo:question", args=[5]))

    assert page.status_code == 200
    assert "Nothing has been recorded yet" in page.content.decode()


@pytest.mark.parametrize("number", [0, 8])
def test_there_are_seven_questions(client, number):
    assert client.get(reverse("demo:question", args=[number])).status_code == 404


def test_visitors_who_may_not_see_traces_are_not_sent_to_them(client):
    assert "seven questions" not in client.get("/").content.decode()
