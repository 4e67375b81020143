"""What is written down of connections, by identities that may be others' by then."""

from __future__ import annotations

from django.dispatch import Signal

from tracing.instrumentation.connections import journal

asked = Signal()
another = Signal()
PLACE = ("/shop/apps.py", 7)


def greet(**named):
    pass


def greet_later(**named):
    pass


def as_if_identities_were_those_of(signal, receiver):
    journal.ask(asked, greet, "shop.Seat", PLACE)
    waiting = journal.journal.waiting
    waiting[id(signal), id(receiver), "shop.seat"] = waiting.pop(
        (id(asked), id(greet), "shop.seat")
    )


def test_a_receiver_is_placed_where_it_was_to_be_connected_once_its_model_came():
    journal.ask(asked, greet, "shop.Seat", PLACE)

    assert journal.answer(asked, greet, "shop.Seat") == PLACE
    assert journal.answer(asked, greet, "shop.Seat") is None


def test_a_receiver_is_not_placed_where_one_waited_whose_identity_it_has():
    as_if_identities_were_those_of(asked, greet_later)

    assert journal.answer(asked, greet_later, "shop.Seat") is None


def test_a_signal_is_not_taken_for_one_whose_identity_it_has():
    as_if_identities_were_those_of(another, greet)

    assert journal.answer(another, greet, "shop.Seat") is None
