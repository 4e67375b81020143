"""Tests of buyers and their notices."""

from __future__ import annotations

from decimal import Decimal

import pytest
from asgiref.sync import async_to_sync
from django.contrib.auth.models import User

from core.buyers.models import Buyer, Notice


def test_name_is_the_full_name(buyer):
    assert str(buyer) == "Ada Byron"


def test_name_without_a_full_name_is_the_user_name(make_buyer):
    assert make_buyer(username="turing").name == "turing"


def test_of_a_user_with_a_buyer_returns_that_buyer(buyer):
    assert Buyer.objects.of(buyer.user) == buyer


@pytest.mark.django_db
def test_of_a_user_past_the_signal_makes_a_buyer_not_marked_as_made_by_it():
    (user,) = User.objects.bulk_create([User(username="bulk")])

    buyer = Buyer.objects.of(user)

    assert (buyer.user, buyer.created_by_signal) == (user, False)


def test_count_purchases_counts_the_cars_of_the_buyer(buyer, make_car, make_buyer):
    make_car(buyer=buyer, price=Decimal("10.50"))
    make_car(buyer=buyer, price=Decimal(20))
    make_car(buyer=make_buyer())
    Buyer.objects.update(cars_bought=99, spent=0)

    buyer.count_purchases()

    buyer.refresh_from_db()
    assert (buyer.cars_bought, buyer.spent) == (2, Decimal("30.50"))


def test_count_purchases_without_cars_is_zero(buyer):
    buyer.count_purchases()

    assert (buyer.cars_bought, buyer.spent) == (0, Decimal(0))


def test_notify_leaves_a_notice(buyer):
    notice = buyer.notify("Hello.")

    assert [str(each) for each in buyer.notices.all()] == ["Hello."]
    assert notice.buyer == buyer


def test_anotify_leaves_a_notice(buyer):
    async_to_sync(buyer.anotify)("Hello.")

    assert [notice.text for notice in Notice.objects.all()] == ["Hello."]
