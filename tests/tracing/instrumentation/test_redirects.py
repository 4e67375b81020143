"""What pairs a redirect with the request it led to: kept as digests, without asking for the session."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from django.http import HttpResponse, HttpResponseRedirect
from django.test import Client, RequestFactory
from django.urls import path

from tests.tracing.instrumentation.conftest import keeper, no_failures, recording, stock  # noqa: F401
from tests.tracing.instrumentation.test_requests import traced  # noqa: F401
from tracing.instrumentation.scopes.redirects import tell_way


def place_order(request):
    return HttpResponseRedirect("../orders/7/?placed=1")


def show_order(request, number):
    return HttpResponse("placed")


urlpatterns = [
    path("check-out/", place_order),
    path("orders/<int:number>/", show_order),
]


def way_of(
    location="/orders/7/", *, session="s1", given=None, status=302, way="/check-out/", **extra
):
    """Return the keys of a request to *way* that is answered by a redirect."""
    request = RequestFactory().get(way, **extra)
    if session:
        request.COOKIES["sessionid"] = session
    response = HttpResponse(status=status, headers={"Location": location})
    if given is not None:
        response.set_cookie("sessionid", given)
    active = SimpleNamespace(arrival_key="", redirect_key="", http_status=status)
    tell_way(active, request, response)
    return active


@pytest.mark.parametrize(
    "location",
    [
        "/orders/7/",
        "/orders/7/?placed=1#top",
        "../orders/7/",
        "http://testserver/orders/7/",
        "//testserver/orders/7/",
        "/orders/%37/",
    ],
)
def test_redirect_and_the_request_it_leads_to_have_one_key(location):
    way = way_of(location, HTTP_HOST="testserver")

    assert way.redirect_key
    assert way.redirect_key == way_of(way="/orders/7/", status=200).arrival_key


def test_another_session_or_path_is_another_key():
    keys = {
        way_of().redirect_key,
        way_of(session="s2").redirect_key,
        way_of("/orders/8/").redirect_key,
    }

    assert len(keys) == 3


def test_who_logs_in_comes_back_with_the_session_that_was_given():
    assert way_of(given="s2").redirect_key == way_of(session="s2").redirect_key
    assert way_of(session="", given="s2").redirect_key == way_of(session="s2").redirect_key


@pytest.mark.parametrize(
    "options",
    [
        {"session": ""},
        {"session": "", "given": ""},
        {"status": 200},
        {"status": 304},
        {"location": "https://bank.example/orders/7/"},
        {"location": "mailto:a@b.example"},
    ],
)
def test_without_a_session_or_a_way_within_the_site_there_is_no_key(options):
    assert way_of(**options).redirect_key == ""


@pytest.mark.urls(__name__)
@pytest.mark.usefixtures("traced")
def test_requests_are_paired_and_their_responses_vary_as_before(keeper):  # noqa: F811
    client = Client()
    client.cookies["sessionid"] = "s1"
    sent_on = client.post("/check-out/")
    shown = client.get("/orders/7/")

    first, second = keeper.traces()
    assert first.redirect_key == second.arrival_key != ""
    assert (first.arrival_key, second.redirect_key) == ("", "")
    assert "s1" not in f"{first}{second}"
    assert not sent_on.has_header("Vary")
    assert not shown.has_header("Vary")


@pytest.mark.urls(__name__)
@pytest.mark.usefixtures("traced")
def test_requests_without_a_session_are_not_paired(keeper):  # noqa: F811
    Client().post("/check-out/", follow=True)
    Client().get("/orders/7/")

    assert {trace.redirect_key + trace.arrival_key for trace in keeper.traces()} == {""}
