"""Tests of how a user gets a buyer."""

from __future__ import annotations

import pytest
from django.contrib.auth.models import User
from django.core import serializers

from core.buyers.models import Buyer

pytestmark = pytest.mark.django_db


def test_a_new_user_gets_a_buyer_made_by_the_signal():
    user = User.objects.create_user("ada")

    assert list(Buyer.objects.values_list("user", "created_by_signal")) == [(user.pk, True)]


def test_a_user_saved_again_keeps_the_one_buyer():
    user = User.objects.create_user("ada")

    user.first_name = "Ada"
    user.save()

    assert Buyer.objects.count() == 1


def test_a_user_from_a_fixture_gets_no_buyer():
    fixture = serializers.serialize("json", [User(pk=7, username="ada")])

    for each in serializers.deserialize("json", fixture):
        each.save()

    assert (User.objects.count(), Buyer.objects.count()) == (1, 0)
