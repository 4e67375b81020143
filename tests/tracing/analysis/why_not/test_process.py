"""Tests of what a process says of its own connections."""

from __future__ import annotations

import sys

import pytest
from django.dispatch import Signal
from django.utils.functional import SimpleLazyObject

from tracing.analysis.why_not.process import this_process
from tracing.testing import capture_dispatches


class Checkout:
    """A sender."""


class Another:
    """Another class."""


def listen(**kwargs):
    pass


@pytest.mark.parametrize(
    ("held", "is_replaced"),
    [
        (Checkout, False),
        (Another, True),
        # Whatever makes it belongs to the application, which did not ask for it.
        (SimpleLazyObject(lambda: pytest.fail("it was made")), False),
    ],
    ids=["itself", "another class", "a lazy object"],
)
def test_sender_is_replaced_by_another_class_of_its_name(held, is_replaced, monkeypatch):
    signal = Signal()
    with capture_dispatches():
        signal.connect(listen, sender=Checkout)
    monkeypatch.setattr(sys.modules[__name__], "Checkout", held)

    (connection,) = this_process([signal]).connections

    assert connection.is_sender_replaced is is_replaced
