"""Tests of the hall of hazards: each is provoked, found by its rule, and leaves nothing behind."""

from __future__ import annotations

import gc
from typing import TYPE_CHECKING

import pytest
from django.contrib.auth.models import Group, User
from django.db import connection
from django.db.models.signals import post_init, post_save, pre_init, pre_save
from django.test import Client
from django.urls import reverse
from django.utils.html import escape

from carsales.lab.hazards.exhibits import EXHIBITS
from carsales.lab.recording import provoke
from carsales.lab.signals import hammer_fell, rumour_spread
from core.buyers.models import Buyer
from core.cars.models import Car
from core.orders.models import Order
from tests.conftest import UNHURRIED
from tracing.analysis.hazards import BUILT_IN

if TYPE_CHECKING:
    from django.dispatch import Signal

BY_SLUG = {exhibit.slug: exhibit for exhibit in EXHIBITS}
SIGNALS = (post_save, pre_save, post_init, pre_init, hammer_fell, rumour_spread)
MODELS = (User, Group, Buyer, Car, Order)

every_exhibit = pytest.mark.parametrize("exhibit", EXHIBITS, ids=lambda exhibit: exhibit.slug)


def address(exhibit) -> str:
    return reverse("lab:exhibit", args=[exhibit.slug])


def receivers_of(signal: Signal) -> list[object]:
    return [entry[0] for entry in signal.receivers]


def rules_that_found(exhibit) -> set[str]:
    found = {hazard.hazard for hazard in provoke(exhibit).hazards}
    # On a busy machine anything may take long; that is no fault of the exhibit.
    return found - (UNHURRIED.keys() - {exhibit.slug})


def left_in_the_database() -> list[int]:
    return [model.objects.count() for model in MODELS]


def test_every_rule_has_an_exhibit():
    assert [exhibit.slug for exhibit in EXHIBITS] == [rule.id for rule in BUILT_IN]


# Only where transactions are real: a savepoint in the transaction of a test is no transaction of the
# application, which is what two of the rules are about.
@every_exhibit
@pytest.mark.django_db(transaction=True)
def test_an_exhibit_is_found_by_its_rule_and_by_no_other(exhibit):
    assert rules_that_found(exhibit) == {exhibit.slug}
    assert left_in_the_database() == [0] * len(MODELS)
    assert not connection.in_atomic_block


@pytest.mark.thorough
@every_exhibit
@pytest.mark.django_db
def test_an_exhibit_leaves_nothing_behind(exhibit):
    connected = [receivers_of(signal) for signal in SIGNALS]
    blocks = len(connection.savepoint_ids)

    provoke(exhibit)

    gc.collect()
    assert [receivers_of(signal) for signal in SIGNALS] == connected
    assert left_in_the_database() == [0] * len(MODELS)
    assert (len(connection.savepoint_ids), connection.needs_rollback) == (blocks, False)


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("slug", "receiver"),
    [
        ("duplicate-receiver", "write_contract"),
        ("recursion", "pass_on"),
        ("repeated-save", "polish"),
        ("lost-receiver", "Clerk.file_papers"),
        ("never-awaited", "Messenger()"),
    ],
)
def test_a_finding_names_the_receiver_in_question(slug, receiver):
    hazards = provoke(BY_SLUG[slug]).hazards

    assert {hazard.receiver for hazard in hazards if hazard.hazard == slug} == {
        f"carsales.lab.hazards.receivers.{receiver}"
    }


@pytest.mark.django_db
@pytest.mark.parametrize("slug", ["lost-receiver", "swallowed-error", "n-plus-one"])
def test_an_exhibit_is_found_in_debug_mode_as_well(settings, slug):
    settings.DEBUG = True

    assert rules_that_found(BY_SLUG[slug]) == {slug}


@pytest.mark.django_db
def test_an_exhibit_that_fails_disconnects_its_receivers(monkeypatch):
    connected = [receivers_of(signal) for signal in SIGNALS]

    def refuse(*_args, **_named):
        raise RuntimeError("no")

    monkeypatch.setattr(Car, "save", refuse)
    with pytest.raises(RuntimeError, match="no"):
        provoke(BY_SLUG["repeated-receiver"])

    assert [receivers_of(signal) for signal in SIGNALS] == connected
    assert left_in_the_database() == [0] * len(MODELS)


@pytest.mark.django_db
def test_the_lab_leads_to_the_hall_and_the_hall_to_every_exhibit(client):
    lab = client.get(reverse("lab:index")).content.decode()
    hall = client.get(reverse("lab:hall")).content.decode()

    assert f'href="{reverse("lab:hall")}"' in lab
    assert [each.slug for each in EXHIBITS if f'href="{address(each)}"' not in hall] == []


@pytest.mark.thorough
@every_exhibit
@pytest.mark.django_db
def test_a_page_explains_the_hazard_and_runs_nothing(client, exhibit, django_assert_num_queries):
    with django_assert_num_queries(0):
        answer = client.get(address(exhibit))
    page = answer.content.decode()

    assert answer.status_code == 200
    for text in (exhibit.text, exhibit.rule.why, exhibit.rule.remedy, exhibit.button):
        assert escape(text) in page
    assert exhibit.page in page
    assert [each.place for each in exhibit.sources() if each.place not in page] == []
    assert "What the rules found" not in page


@every_exhibit
def test_a_page_names_documentation_that_is_there(settings, exhibit):
    page = settings.BASE_DIR / exhibit.page

    assert page.read_text(encoding="utf-8").startswith(f"# {exhibit.slug}\n")


@every_exhibit
@pytest.mark.django_db(transaction=True)
def test_the_button_shows_the_finding_without_a_script(client, exhibit):
    page = client.post(address(exhibit)).content.decode()

    assert f"<h3>{exhibit.slug}</h3>" in page
    assert "Evidence" in page
    assert escape(exhibit.rule.remedy) in page
    assert f"lab: {exhibit.slug}" in page or "No signal with a receiver was sent." in page
    assert page.index("What the rules found") < page.index("What the tracer recorded")
    assert "<html" in page


@pytest.mark.django_db
def test_htmx_gets_the_diagnosis_alone(client):
    page = client.post(address(EXHIBITS[0]), headers={"HX-Request": "true"}).content.decode()

    assert f"<h3>{EXHIBITS[0].slug}</h3>" in page
    assert "<html" not in page


@pytest.mark.parametrize("method", ["put", "patch", "delete"])
def test_an_exhibit_takes_no_other_method(client, method):
    answer = getattr(client, method)(address(EXHIBITS[0]))

    assert (answer.status_code, answer["Allow"]) == (405, "GET, HEAD, POST")


def test_the_hall_itself_takes_no_post(client):
    assert client.post(reverse("lab:hall")).status_code == 405


def test_an_exhibit_asks_for_the_token_of_the_form():
    assert Client(enforce_csrf_checks=True).post(address(EXHIBITS[0])).status_code == 403


@pytest.mark.django_db
def test_an_exhibit_that_is_not_there_is_not_found(client):
    assert client.get(reverse("lab:exhibit", args=["nothing"])).status_code == 404
