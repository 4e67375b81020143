"""Tests of the profile form."""

from __future__ import annotations

from core.buyers.forms import ProfileForm

DATA = {
    "first_name": "Augusta",
    "last_name": "King",
    "email": "a@example.org",
    "city": "London",
    "phone": "1",
}


def test_profile_form_begins_with_what_is_known(buyer):
    form = ProfileForm(instance=buyer)

    assert (form["first_name"].value(), form["last_name"].value()) == ("Ada", "Byron")


def test_profile_form_saves_buyer_and_user(buyer):
    form = ProfileForm(DATA, instance=buyer)
    assert form.is_valid()

    form.save()

    buyer.refresh_from_db()
    assert (str(buyer), buyer.user.email, buyer.city) == ("Augusta King", "a@example.org", "London")


def test_profile_form_without_commit_saves_nothing(buyer):
    form = ProfileForm(DATA, instance=buyer)
    assert form.is_valid()

    form.save(commit=False)

    buyer.refresh_from_db()
    assert (str(buyer), buyer.city) == ("Ada Byron", "")
