"""Tests of what every page knows about the basket."""

from __future__ import annotations

from django.contrib.auth.models import AnonymousUser

from core.orders.context_processors import basket


def test_the_basket_is_asked_for_only_when_it_is_shown(rf, order, django_assert_num_queries):
    request = rf.get("/")
    request.user = order.buyer.user

    with django_assert_num_queries(0):
        context = basket(request)

    assert context["basket"] == order


def test_nobody_has_no_basket(rf):
    request = rf.get("/")
    without_middleware = basket(request)["basket"]
    request.user = AnonymousUser()

    assert (bool(without_middleware), bool(basket(request)["basket"])) == (False, False)
