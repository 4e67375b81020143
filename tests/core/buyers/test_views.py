"""Tests of signing up, logging in and the profile."""

from __future__ import annotations

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.urls import reverse

from core.buyers.models import Buyer

SIGN_UP = {"username": "grace", "password1": "xk3-hhqp9", "password2": "xk3-hhqp9"}


@pytest.mark.django_db
def test_sign_up_makes_a_user_with_a_buyer_and_logs_in(client):
    response = client.post(reverse("buyers:sign_up"), {**SIGN_UP, "first_name": "Grace"})

    assert response.url == reverse("cars:list")
    assert client.session["_auth_user_id"] == str(User.objects.get(username="grace").pk)
    assert Buyer.objects.get().created_by_signal


@pytest.mark.django_db
def test_sign_up_with_a_wrong_form_says_why_and_makes_nobody(client):
    response = client.post(reverse("buyers:sign_up"), {**SIGN_UP, "password2": "other"})

    assert list(response.context["form"].errors) == ["password2"]
    assert not User.objects.exists()


def test_sign_up_when_logged_in_leads_to_the_profile(shopper):
    assert shopper.get(reverse("buyers:sign_up")).url == reverse("buyers:profile")


def test_log_in_and_out(client, make_buyer):
    make_buyer(username="grace", password="xk3-hhqp9")

    client.post(reverse("buyers:log_in"), {"username": "grace", "password": "xk3-hhqp9"})
    logged_in = "_auth_user_id" in client.session
    client.post(reverse("buyers:log_out"))

    assert (logged_in, "_auth_user_id" in client.session) == (True, False)


def test_log_out_by_get_is_refused(shopper):
    assert shopper.get(reverse("buyers:log_out")).status_code == 405


def test_profile_shows_cars_and_notices(shopper, buyer, order):
    order.place()

    page = shopper.get(reverse("buyers:profile")).content.decode()

    assert "$447,000" in page
    assert f"Thank you: {order} with one car has been placed." in page


@pytest.mark.django_db
def test_profile_of_a_user_past_the_signal_is_shown(client):
    (user,) = User.objects.bulk_create([User(username="bulk")])
    client.force_login(user)

    assert client.get(reverse("buyers:profile")).status_code == 200


def test_edit_profile_saves_and_leads_back(shopper, buyer):
    page = shopper.get(reverse("buyers:edit_profile"))
    response = shopper.post(reverse("buyers:edit_profile"), {"city": "Oslo"})

    buyer.refresh_from_db()
    assert (page.status_code, response.url) == (200, reverse("buyers:profile"))
    assert buyer.city == "Oslo"


def test_edit_profile_with_a_wrong_form_says_why(shopper):
    response = shopper.post(reverse("buyers:edit_profile"), {"email": "nowhere"})

    assert list(response.context["form"].errors) == ["email"]


def test_changing_the_password_works(client, make_buyer):
    buyer = make_buyer(username="grace", password="xk3-hhqp9")
    client.force_login(buyer.user)

    response = client.post(
        reverse("buyers:change_password"),
        {
            "old_password": "xk3-hhqp9",
            "new_password1": "new-pass-77",
            "new_password2": "new-pass-77",
        },
        follow=True,
    )

    buyer.user.refresh_from_db()
    assert buyer.user.check_password("new-pass-77")
    assert response.redirect_chain == [(reverse("buyers:password_changed"), 302)]


@pytest.mark.django_db
@pytest.mark.parametrize("name", ["profile", "edit_profile", "change_password"])
def test_pages_of_an_account_ask_for_a_log_in(client, name):
    path = reverse(f"buyers:{name}")

    assert client.get(path).url == f"{reverse('buyers:log_in')}?next={path}"


@pytest.mark.django_db
def test_a_form_without_its_token_is_refused_with_a_page_of_the_site():
    client = Client(enforce_csrf_checks=True)

    response = client.post(reverse("buyers:sign_up"), SIGN_UP)

    assert response.status_code == 403
    assert "This form is out of date" in response.content.decode()
