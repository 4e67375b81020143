"""Tests of what all pages share: the policy they are sent with, and the pages for errors."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from asgiref.sync import async_to_sync
from django.contrib.auth.models import Permission
from django.template.loader import render_to_string
from django.test import AsyncClient, Client
from django.urls import path, reverse

from carsales import urls

ROOT = Path(__file__).resolve().parents[2]
TEMPLATES = [
    *ROOT.glob("carsales/**/templates/**/*.html"),
    *ROOT.glob("core/**/templates/**/*.html"),
]


def broken(request):
    raise RuntimeError("on purpose")


def forbidden(request):
    from django.core.exceptions import PermissionDenied

    raise PermissionDenied


urlpatterns = [*urls.urlpatterns, path("broken/", broken), path("forbidden/", forbidden)]


@pytest.mark.django_db
@pytest.mark.parametrize("name", ["home", "cars:list", "lab:index", "buyers:log_in", "admin:login"])
def test_every_page_is_sent_with_a_strict_policy(client, name):
    response = client.get(reverse(name))

    policy = response["Content-Security-Policy"]
    assert response.status_code == 200
    assert "default-src 'self'" in policy
    assert "unsafe" not in policy
    assert "frame-ancestors 'none'" in policy


@pytest.mark.parametrize("template", TEMPLATES, ids=lambda path: path.name)
def test_no_template_has_inline_code_or_another_host(template):
    text = template.read_text(encoding="utf-8")

    assert not re.findall(r"<style|\sstyle=|\son\w+=|javascript:|https?://", text)
    assert not re.findall(r"<script(?![^>]*\ssrc=)", text)


@pytest.mark.django_db
@pytest.mark.urls(__name__)
@pytest.mark.parametrize(
    ("address", "status", "words"),
    [
        ("/nowhere/", 404, "There is nothing here"),
        ("/forbidden/", 403, "You may not see this page"),
        ("/broken/", 500, "Something broke on our side"),
    ],
)
def test_errors_have_pages_of_the_site(address, status, words):
    response = Client(raise_request_exception=False).get(address)

    assert response.status_code == status
    assert words in response.content.decode()


def test_the_page_for_a_fault_needs_no_context():
    assert "Something broke" in render_to_string("500.html")


@pytest.mark.django_db
def test_the_site_works_under_asgi():
    response = async_to_sync(AsyncClient().get)("/")

    assert (response.status_code, "The forecourt is empty" in response.content.decode()) == (
        200,
        True,
    )


def test_both_entries_serve_the_site():
    from carsales.asgi import application as asgi
    from carsales.wsgi import application as wsgi

    assert (type(asgi).__name__, type(wsgi).__name__) == ("ASGIHandler", "WSGIHandler")


def test_the_icon_that_browsers_ask_for_is_there(client):
    assert client.get("/favicon.ico").url == "/static/carsales/icon.svg"


@pytest.mark.django_db
@pytest.mark.thorough
def test_change_pages_of_the_admin_lead_to_the_story_of_their_object(client, django_user_model):
    superuser = django_user_model.objects.create_superuser("root")
    clerk = django_user_model.objects.create_user("clerk", is_staff=True)
    clerk.user_permissions.add(Permission.objects.get(codename="change_user"))
    address = reverse("admin:auth_user_change", args=[clerk.pk])
    link = f'<a class="story" href="/tracing/story/?object=auth.User%3A{clerk.pk}">Story</a>'

    client.force_login(superuser)
    seen = client.get(address).content.decode()
    client.force_login(clerk)
    unseen = client.get(address).content.decode()

    assert link in seen
    assert "historylink" in seen
    assert (link in unseen, "historylink" in unseen) == (False, True)
