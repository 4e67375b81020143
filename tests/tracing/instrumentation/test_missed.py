"""Receivers that did not run and callbacks that wait: for whom they are told, and how it is said."""

from __future__ import annotations

import gc
import operator

import pytest
from django.contrib.auth.models import Group, User
from django.core import mail
from django.db import models, transaction
from django.db.models.signals import post_delete, post_save, pre_delete
from django.dispatch import Signal
from django.test import TestCase
from django.test.utils import isolate_apps

from tests.tracing.instrumentation.conftest import recording
from tracing.analysis.notes import further_notes, notes
from tracing.instrumentation.attributes.names import sender_name
from tracing.instrumentation.connections import missed
from tracing.instrumentation.connections.missed import relation
from tracing.instrumentation.patching import instrument
from tracing.spans.records import TransactionOutcome

pytestmark = pytest.mark.usefixtures("traced")

published = Signal()


@pytest.fixture
def traced(stock, keeper, no_failures):
    undo = instrument()
    yield
    missed.left.clear()
    undo()


def on_published(**named):
    """Do nothing."""


def other(**named):
    """Do nothing either."""


@pytest.fixture
def connect():
    made = []

    def connect(receiver, sender):
        published.connect(receiver, sender=sender)
        made.append((receiver, sender))

    yield connect
    for receiver, sender in made:
        published.disconnect(receiver, sender=sender)


class ProxyOfGroup(Group):
    class Meta:
        proxy = True
        app_label = "auth"
        managed = False


def told(trace):
    return [(each.sender, each.connected_for, each.reason) for each in trace.missed_receivers]


@pytest.mark.parametrize(
    ("connected", "sent", "reason"),
    [
        (User, User.objects, "the model of the manager that sent it"),
        ("auth.User", User, "a string, which is not the model"),
        (User, "auth.user", "the model, not its name as a string"),
        (Group, ProxyOfGroup, "the model of that proxy"),
        (ProxyOfGroup, Group, "a proxy of that model"),
    ],
)
def test_receiver_for_a_related_sender_is_told(connect, connected, sent, reason):
    connect(on_published, connected)

    with recording() as recorded:
        published.send(sent)

    assert told(recorded.trace) == [(sender_name(sent), sender_name(connected), reason)]
    (note,) = notes(recorded.trace)
    assert note.kind == "missed"
    assert note.text.startswith("on_published (")
    assert note.text.endswith(f"it is connected for {sender_name(connected)}, {reason}")


@pytest.mark.parametrize(
    ("connected", "sent"), [(User, User), (User, Group), (None, User), (Group, "auth.User")]
)
def test_receiver_that_ran_or_waits_for_somebody_else_is_not_told(connect, connected, sent):
    connect(on_published, connected)

    with recording() as recorded:
        published.send(sent)

    assert recorded.trace.missed_receivers == []


def test_a_connection_in_the_memory_of_an_earlier_one_is_another():
    """Python gives the memory of what has died to what comes next, and identities with it."""
    places = []
    for sender in [ProxyOfGroup, User] * 50:
        published.connect(on_published, sender=sender)
        places.append(id(published.receivers[0]))
        with recording() as recorded:
            published.send(Group)
        published.disconnect(on_published, sender=sender)

        assert len(recorded.trace.missed_receivers) == (sender is ProxyOfGroup)
    assert any(map(operator.eq, places, places[1:]))


def test_receiver_that_is_connected_for_both_is_not_told(connect):
    connect(on_published, Group)
    connect(on_published, ProxyOfGroup)

    with recording() as recorded:
        published.send(ProxyOfGroup)

    assert recorded.trace.missed_receivers == []


def test_another_receiver_that_ran_does_not_hide_the_one_that_did_not(connect):
    connect(on_published, Group)
    connect(other, ProxyOfGroup)

    with recording() as recorded:
        published.send(ProxyOfGroup)

    assert told(recorded.trace) == [("auth.ProxyOfGroup", "auth.Group", "the model of that proxy")]


@isolate_apps("tests")
def test_relations_of_models():
    class Base(models.Model):
        class Meta:
            abstract = True
            app_label = "tests"

    class Parent(Base):
        class Meta:
            app_label = "tests"

    class Child(Parent):
        class Meta:
            app_label = "tests"

    def between(model, waiting):
        return relation(model._meta.label, model, waiting._meta.label, waiting)

    assert between(Child, Parent) == "its parent model"
    assert between(Parent, Base) == "its abstract base, which never sends"
    # Who saves a parent saves no child.
    assert between(Parent, Child) == ""


@isolate_apps("tests")
def test_receiver_of_a_parent_ran_when_the_child_was_deleted(monkeypatch):
    class Parent(models.Model):
        class Meta:
            app_label = "tests"

    class Child(Parent):
        class Meta:
            app_label = "tests"

    monkeypatch.setattr(missed, "_model_named", {"tests.Child": Child}.get)
    monkeypatch.setattr(missed.registry, "possible_senders", lambda: {id(Parent): Parent})
    signals = (post_save, pre_delete, post_delete)
    for signal in signals:
        signal.connect(on_published, sender=Parent)
    names = ("post_save", "pre_delete", "post_delete")
    sent = [(f"django.db.models.signals.{name}", "tests.Child") for name in names]
    found = missed.find(sent, 0)
    for signal in signals:
        signal.disconnect(on_published, sender=Parent)

    assert [(each.signal, each.reason) for each in found] == [(sent[0][0], "its parent model")]


def test_receiver_that_an_earlier_trace_left_disconnected_is_told_until_it_is_back(connect):
    connect(on_published, User)
    with recording() as first:
        published.disconnect(on_published, sender=User)
        published.send(User)
    with recording() as later:
        published.send(User)
        published.send(Group)
    published.connect(on_published, sender=User)
    with recording() as last:
        published.send(User)

    assert first.trace.missed_receivers == last.trace.missed_receivers == []
    assert told(later.trace) == [("auth.User", "auth.User", "disconnected")]
    (note,) = notes(later.trace)
    assert (
        "did not run for published auth.User: it was disconnected by test_receiver_that_an"
        in note.text
    )
    assert [(each.kind, each.count) for each in further_notes(first.trace)] == [
        ("disconnected", 1),
        ("no receivers", 1),
    ]


@pytest.mark.parametrize("lives", [True, False], ids=["unnamed", "gone"])
def test_receiver_of_one_signal_without_a_name_is_not_missed_by_another(lives):
    earlier, later = Signal(), Signal()
    earlier.connect(on_published)
    with recording():
        earlier.disconnect(on_published)
    later.connect(other)
    with recording() as recorded:
        later.send(User)
        if not lives:
            # Nobody has named them by now.
            del earlier, later
            gc.collect()

    assert len(recorded.trace.dispatches) == 1
    assert recorded.trace.missed_receivers == []


@pytest.mark.django_db
def test_callback_that_waits_for_a_commit_of_a_testcase_is_told():
    def on_group(**named):
        transaction.on_commit(lambda: None)
        transaction.on_commit(lambda: None)

    post_save.connect(on_group, sender=Group)
    try:
        with recording() as recorded:
            Group.objects.create(name="a")
    finally:
        post_save.disconnect(on_group, sender=Group)

    # What another test left disconnected is told as well.
    (note,) = [note for note in notes(recorded.trace) if note.kind == "waiting"]
    assert note.text.startswith("2 on_commit callbacks of ")
    assert "wait for a commit of 'default' that the test's own transaction never makes" in note.text


@pytest.mark.django_db
@pytest.mark.parametrize("robust", [True, False])
def test_callbacks_that_a_test_runs_hang_under_what_registered_them(robust):
    shipped = Signal()

    def ship(**named):
        pass

    def on_group(**named):
        transaction.on_commit(lambda: shipped.send(None), robust=robust)

    shipped.connect(ship)
    post_save.connect(on_group, sender=Group)
    try:
        with recording() as recorded, TestCase.captureOnCommitCallbacks(execute=True) as callbacks:
            Group.objects.create(name="a")
    finally:
        post_save.disconnect(on_group, sender=Group)

    saved, sent = recorded.trace.dispatches
    assert len(callbacks) == 1
    assert (sent.parent_number, sent.is_detached) == (saved.receiver_calls[0].number, True)
    assert recorded.trace.diagnosis_context.on_commit == [sent.number]
    assert recorded.trace.waiting_callbacks == []


@pytest.mark.django_db
def test_a_failure_of_a_callback_that_a_test_runs_is_the_tests():
    with (
        recording() as recorded,
        pytest.raises(ZeroDivisionError),
        TestCase.captureOnCommitCallbacks(execute=True),
    ):
        transaction.on_commit(lambda: 1 / 0)

    assert recorded.trace.dispatches == []


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("commits", [True, False])
def test_callback_that_ran_or_was_dropped_is_not_told_as_waiting(commits):
    with recording() as recorded, transaction.atomic():
        transaction.on_commit(lambda: None)
        transaction.set_rollback(not commits)

    assert recorded.trace.waiting_callbacks == []


@pytest.mark.django_db(transaction=True, databases=["default", "tracing"])
@pytest.mark.parametrize("robust", [True, False])
def test_callback_that_on_commit_of_another_database_ran_at_once_is_told(robust):
    def on_user(**named):
        transaction.on_commit(
            lambda: mail.send_mail("a", "b", "c@d.e", ["f@g.h"]), using="tracing", robust=robust
        )

    post_save.connect(on_user, sender=User)
    try:
        with recording() as recorded, transaction.atomic():
            User.objects.create(username="u")
            transaction.set_rollback(True)
    finally:
        post_save.disconnect(on_user, sender=User)

    (effect,) = recorded.trace.side_effects
    assert (effect.using, effect.ran_at_once_on, effect.in_on_commit) == (
        "default",
        "tracing",
        False,
    )
    assert effect.transaction is TransactionOutcome.ROLLED_BACK
    calls = [call.number for root in recorded.trace.roots for call in root.receiver_calls]
    assert effect.parent_number in calls
