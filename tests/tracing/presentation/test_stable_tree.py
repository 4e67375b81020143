"""Tests of the tree that stays the same."""

from __future__ import annotations

import pytest
from django.contrib.auth.models import Group
from django.db import transaction
from django.db.models.signals import m2m_changed, post_save, pre_save
from django.dispatch import Signal

from tests.tracing.samples import plain_trace
from tracing.analysis.tree import TIMES
from tracing.presentation.stable_tree import stable_tree
from tracing.testing import capture_dispatches

sent = Signal()
answered = Signal()


def answer(sender, **named):
    answered.send(sender)


def note(**named):
    pass


def refuse(**named):
    raise ValueError(named.get("text"))


@pytest.fixture
def connect():
    """Return a function that connects receivers for one test."""
    connected = []

    def connect(signal, *receivers, **options):
        for receiver in receivers:
            signal.connect(receiver, **options)
            connected.append((signal, receiver, options))

    yield connect
    for signal, receiver, options in connected:
        signal.disconnect(receiver, **options)


def tree(captured, **options):
    """Return the lines of a tree, the names of this module left out."""
    return stable_tree(captured.trace, **options).replace(f"{__name__}.", "").splitlines()


def test_what_was_sent_stands_below_what_sent_it_with_outcomes(connect):
    connect(sent, answer, refuse, note)
    connect(answered, note)

    with capture_dispatches() as captured, pytest.raises(ValueError, match="x"):
        sent.send(None, text="x")

    assert tree(captured) == [
        "sent, raised ValueError",
        "  → answer",
        "    answered",
        "      → note",
        "  → refuse: raised ValueError",
        "  → note: skipped",
    ]


@pytest.mark.django_db
def test_of_a_model_action_and_fate_are_told_and_no_key(connect):
    connect(post_save, note, sender=Group)
    connect(m2m_changed, note, sender=Group.permissions.through)

    with capture_dispatches() as captured:
        group = Group.objects.create(name="a")
        group.permissions.clear()
        with transaction.atomic():
            group.save()
            transaction.set_rollback(True)

    assert tree(captured) == [
        "post_save auth.Group, created",
        "  → note",
        "m2m_changed pre_clear auth.Group_permissions",
        "  → note",
        "m2m_changed post_clear auth.Group_permissions",
        "  → note",
        "post_save auth.Group, rolled back",
        "  → note",
    ]


@pytest.mark.django_db
def test_repetitions_in_a_row_are_counted_alone_and_in_turn(connect):
    connect(pre_save, note, sender=Group)
    connect(post_save, note, sender=Group)
    connect(sent, note)

    with capture_dispatches() as captured:
        for name in "abc":
            Group.objects.create(name=name)
        for _ in range(4):
            sent.send(None)
        Group.objects.create(name="d")

    assert tree(captured) == [
        f"{TIMES}3",
        "  pre_save auth.Group",
        "    → note",
        "  post_save auth.Group, created",
        "    → note",
        f"sent {TIMES}4",
        "  → note",
        "pre_save auth.Group",
        "  → note",
        "post_save auth.Group, created",
        "  → note",
    ]


@pytest.mark.django_db
def test_what_is_not_mine_is_left_out_unless_everything_is_wanted():
    foreign = plain_trace(dispatches=2)

    assert stable_tree(foreign) == "(no receiver of yours ran)\n"
    assert stable_tree(foreign, everything=True).splitlines() == [
        f"post_save shop.Order {TIMES}2",
        "  → shop.receivers.count",
    ]
    assert stable_tree(plain_trace(dispatches=0), everything=True) == "(no receiver ran)\n"


def test_chosen_spans_are_told_with_what_is_below_them(connect):
    connect(sent, answer)
    connect(answered, note)

    with capture_dispatches() as captured:
        sent.send(None)

    (call,) = captured.dispatches[0].receiver_calls
    assert tree(captured, tops=[call]) == ["→ answer", "  answered", "    → note"]


def test_a_thousand_levels_are_no_matter(connect):
    def again(depth=0, **named):
        if depth < 90:
            sent.send(None, depth=depth + 1)

    connect(sent, again)

    with capture_dispatches() as captured:
        sent.send(None)

    assert len(tree(captured)) == 182
