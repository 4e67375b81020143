"""What the middleware keeps of a response and its user, whatever they are."""

from __future__ import annotations

from http import HTTPStatus
from types import SimpleNamespace

import pytest
from django.contrib.auth.models import AnonymousUser, User
from django.http import HttpResponse
from django.test import RequestFactory
from django.urls import ResolverMatch

from tests.tracing.instrumentation.conftest import keeper, no_failures, stock  # noqa: F401
from tracing import trace
from tracing.instrumentation.attributes.redaction import digest
from tracing.instrumentation.patching import instrument
from tracing.middleware import TracingMiddleware
from tracing.spans.records import Kind

pytestmark = pytest.mark.usefixtures("traced")


@pytest.fixture
def traced(stock, no_failures):  # noqa: F811
    undo = instrument(sql=False, side_effects=False)
    yield
    undo()


def recorded(keeper, response=None, user=None, match=None, path="/"):  # noqa: F811
    """Return the trace of a request that is answered so."""

    def respond(request):
        request.user = user
        request.resolver_match = match
        return response or HttpResponse()

    request = RequestFactory().get(path)
    with trace("a request", kind=Kind.REQUEST) as block:
        block.active.http_path = path
        TracingMiddleware(respond)(request)
    (finished,) = keeper.traces()
    return finished


@pytest.mark.parametrize(
    ("status", "kept"),
    [
        (200, 200),
        (HTTPStatus.IM_A_TEAPOT, 418),
        ("200", None),
        (None, None),
        (-1, None),
        pytest.param(10**5_000, None, id="huge"),
    ],
)
def test_a_status_that_no_response_can_have_is_not_kept(keeper, status, kept):  # noqa: F811
    response = HttpResponse()
    response.status_code = status

    finished = recorded(keeper, response)

    assert finished.http_status == kept
    assert finished.status == "ok"


@pytest.mark.parametrize(
    ("user", "kept"),
    [
        (None, ""),
        (AnonymousUser(), ""),
        (User(pk=42), "42"),
        (SimpleNamespace(pk=42), "42"),
        pytest.param(
            SimpleNamespace(pk="sam@example.com"), digest("sam@example.com"), id="digested"
        ),
        (SimpleNamespace(pk=object()), "<object>"),
        pytest.param(SimpleNamespace(pk=10**5_000), "<int of 16610 bits>", id="huge"),
    ],
)
def test_the_key_of_a_user_follows_the_rule_of_keys(keeper, user, kept):  # noqa: F811
    assert recorded(keeper, user=user).user_id == kept


def test_a_path_without_a_route_keeps_words_and_numbers(keeper):  # noqa: F811
    assert recorded(keeper, path="/reset/42/c2x1ab-0123456789abcdef/").http_path == "/reset/42/…/"


def test_a_path_tells_its_parameters_by_name(keeper):  # noqa: F811
    named = {"pk": 42, "slug": "c2x1ab-0123456789abcdef"}
    match = ResolverMatch(
        print,
        (),
        named,
        route="reset/<int:pk>/<slug:slug>/",
        captured_kwargs=named,
        extra_kwargs={},
    )

    finished = recorded(keeper, match=match, path="/reset/42/c2x1ab-0123456789abcdef/")

    assert finished.http_path == "/reset/42/<slug>/"
