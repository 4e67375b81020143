"""Tests of the pages of the lab."""

from __future__ import annotations

import re

import pytest
from django.test import Client
from django.urls import reverse
from django.utils.html import escape

import tracing
from carsales.lab.lessons import LESSONS
from core.cars.models import Car

pytestmark = pytest.mark.django_db


def address(lesson) -> str:
    return reverse("lab:lesson", args=[lesson.slug])


def test_the_index_lists_every_lesson(client):
    page = client.get(reverse("lab:index")).content.decode()

    assert [lesson.slug for lesson in LESSONS if address(lesson) not in page] == []


@pytest.mark.parametrize("lesson", LESSONS, ids=lambda lesson: lesson.slug)
def test_a_lesson_explains_and_shows_the_source(client, lesson):
    page = client.get(address(lesson)).content.decode()

    assert f"<h1>{lesson.title}</h1>" in page
    assert escape(lesson.button) in page
    assert [each.place for each in lesson.sources() if each.place not in page] == []
    assert "What was found" not in page


@pytest.mark.parametrize("lesson", LESSONS, ids=lambda lesson: lesson.slug)
def test_a_lesson_runs_its_experiment_without_a_script(client, lesson):
    page = client.post(address(lesson)).content.decode()

    assert "What was found" in page
    assert "What the tracer recorded" in page
    assert f"lab: {lesson.slug}" in page
    assert "<html" in page


@pytest.mark.thorough
def test_htmx_gets_the_outcome_alone(client):
    page = client.post(address(LESSONS[0]), headers={"HX-Request": "true"}).content.decode()

    assert "What was found" in page
    assert "<html" not in page


def test_looking_at_a_lesson_runs_nothing(client, django_assert_num_queries):
    with django_assert_num_queries(0):
        client.get(address(LESSONS[1]))

    assert not Car.objects.exists()


def test_an_experiment_asks_for_the_token_of_the_form():
    assert Client(enforce_csrf_checks=True).post(address(LESSONS[0])).status_code == 403


def test_a_lesson_that_is_not_there_is_not_found(client):
    assert client.get(reverse("lab:lesson", args=["nothing"])).status_code == 404


def test_source_is_escaped_and_placed():
    lesson = next(each for each in LESSONS if each.slug == "user-and-buyer")

    source = lesson.sources()[0]

    assert source.name == "create_buyer"
    assert source.place.startswith("core/buyers/receivers.py:")
    assert "-&gt;" in source.html
    assert "->" not in source.html


@pytest.mark.django_db(transaction=True, databases="__all__")
@pytest.mark.thorough
def test_an_outcome_links_the_page_of_its_receiver(recording, admin_client):
    lesson = next(each for each in LESSONS if each.slug == "user-and-buyer")

    outcome = admin_client.post(address(lesson)).content.decode()
    assert tracing.flush(60)

    (link,) = re.findall(r'href="([^"]+)">Open the receiver in the viewer', outcome)
    page = admin_client.get(link).content.decode()
    assert "/spans/" in link
    assert "core.buyers.receivers.create_buyer" in page


@pytest.mark.django_db(transaction=True, databases="__all__")
@pytest.mark.thorough
def test_a_diagnosis_links_the_page_of_its_hazard(recording, admin_client):
    provoked = admin_client.post(reverse("lab:exhibit", args=["n-plus-one"])).content.decode()
    assert tracing.flush(60)

    (link,) = re.findall(r'href="([^"]+)">Open the receiver in the viewer', provoked)
    page = admin_client.get(link).content.decode()
    assert "/spans/" in link
    assert "look_up_each" in page


@pytest.mark.thorough
def test_an_outcome_links_nothing_where_nothing_is_recorded(client):
    assert (
        "Open the receiver in the viewer" not in client.post(address(LESSONS[0])).content.decode()
    )
