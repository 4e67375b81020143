"""What is kept of an instance: its key, as it is, digested, or that there is none or it was not read."""

from __future__ import annotations

import uuid
from decimal import Decimal

import pytest
from django.contrib.auth.models import Group, User
from django.contrib.sessions.models import Session
from django.db import models
from django.db.models.signals import m2m_changed, post_save, pre_save
from django.dispatch import Signal
from django.test.utils import isolate_apps
from django.utils.safestring import SafeString

from tests.tracing.instrumentation.conftest import recording
from tracing.instrumentation.attributes.arguments import instance_key, plain
from tracing.instrumentation.attributes.redaction import (
    MAX_KEY,
    Policy,
    TypeName,
    digest,
    set_policy,
)
from tracing.instrumentation.patching import instrument

pytestmark = pytest.mark.usefixtures("traced")


@pytest.fixture
def traced(stock, keeper, no_failures):
    undo = instrument(sql=False, side_effects=False)
    yield
    undo()


def receive(**_named):
    pass


def recorded_of(send, *signals):
    """Return the dispatches that *send* makes of *signals*."""
    for signal in signals:
        signal.connect(receive)
    try:
        with recording() as recorded:
            send()
    finally:
        for signal in signals:
            signal.disconnect(receive)
    return recorded.trace.dispatches


def instances_of(model, *keys):
    """Return what is kept of instances of *model* with these keys, by each way of reading them."""
    own = Signal()

    def send():
        for key in keys:
            instance = model(pk=key)
            post_save.send(
                model,
                instance=instance,
                created=True,
                raw=False,
                using="default",
                update_fields=None,
            )
            post_save.send(model, instance=instance)
            own.send(model, instance=instance)
            own.send(model, seat=instance)
            m2m_changed.send(model, instance=instance, action="post_add")

    found = [dispatch.instance for dispatch in recorded_of(send, post_save, own, m2m_changed)]
    assert len(found) == 5 * len(keys)
    assert [len(set(found[place : place + 5])) for place in range(0, len(found), 5)] == [1] * len(
        keys
    )
    return found[::5]


class Floor(models.IntegerChoices):
    """Integers with names."""

    GROUND = 0


class Hall(models.TextChoices):
    """Texts with names."""

    EAST = "E"


@isolate_apps("django.contrib.auth")
def test_the_key_is_kept_in_the_same_way_wherever_it_is_read():
    class Seat(models.Model):
        id = models.CharField(primary_key=True, max_length=10)

        class Meta:
            app_label = "shop"

    number = uuid.UUID(int=5)

    assert instances_of(
        Seat, 42, Floor.GROUND, True, number, "A", Hall.EAST, SafeString("A"), b"A", None
    ) == [
        "shop.Seat:42",
        "shop.Seat:0",
        "shop.Seat:True",
        f"shop.Seat:{number}",
        f"shop.Seat:{digest('A')}",
        f"shop.Seat:{digest('E')}",
        f"shop.Seat:{digest('A')}",
        f"shop.Seat:{digest(b'A')}",
        "shop.Seat:None",
    ]


def test_the_key_of_a_session_is_the_cookie_and_is_not_kept():
    assert instances_of(Session, "c00k1e") == [f"sessions.Session:{digest('c00k1e')}"]


def test_a_model_that_the_project_names_has_clear_keys():
    before = Policy()
    set_policy(Policy(clear_keys=["sessions.session"]))
    try:
        assert instances_of(Session, "c00k1e", Decimal("1.5")) == [
            "sessions.Session:c00k1e",
            "sessions.Session:1.5",
        ]
    finally:
        set_policy(before)


@isolate_apps("django.contrib.auth")
def test_composite_keys_tell_seats_apart():
    class Seat(models.Model):
        pk = models.CompositePrimaryKey("hall", "number")
        hall = models.IntegerField()
        number = models.CharField(max_length=5)

        class Meta:
            app_label = "shop"

    assert instances_of(Seat, (1, 7), (1, "A"), (1, None)) == [
        "shop.Seat:(1, 7)",
        f"shop.Seat:(1, {digest('A')})",
        "shop.Seat:None",
    ]


@isolate_apps("django.contrib.auth")
def test_a_key_that_only_code_of_the_application_can_tell_is_not_told():
    class Guarded(models.Model):
        class Meta:
            app_label = "shop"

        def __getattribute__(self, name):
            return super().__getattribute__(name)

    assert instances_of(Guarded, 5) == ["shop.Guarded"]


def test_an_instance_that_is_no_model_has_no_key():
    own = Signal()
    (sent,) = recorded_of(lambda: own.send(None, instance=object()), own)

    assert sent.instance == "object"


def test_new_instances_without_a_key_are_still_told_from_one_another():
    def save(instance):
        pre_save.send(Group, instance=instance, raw=False, using="default", update_fields=None)

    inner, outer = Group(), Group()
    depth = iter((inner, outer))

    def again(instance, **_named):
        following = next(depth, None)
        if following is not None:
            save(following)

    pre_save.connect(again)
    with recording() as recorded:
        save(outer)
    pre_save.disconnect(again)

    first, second, third = recorded.trace.dispatches
    assert [first.same_instance_as, second.same_instance_as, third.same_instance_as] == [
        None,
        None,
        first.number,
    ]


@pytest.mark.parametrize(
    ("sent", "told"),
    [
        (True, True),
        (False, False),
        (1, True),
        (0, False),
        ("yes", True),
        (None, None),
        (object(), None),
        ([], None),
    ],
)
def test_flags_that_were_sent_by_hand_are_told_if_they_are_plain(sent, told):
    def send():
        for flags in ({"update_fields": None, "using": "default"}, {}):
            post_save.send(User, instance=User(pk=1), created=sent, raw=sent, **flags)
        m2m_changed.send(User, instance=User(pk=1), action="post_add", reverse=sent)

    first, second, third = recorded_of(send, post_save, m2m_changed)

    assert [(each.created, each.raw) for each in (first, second)] == [(told, told)] * 2
    assert third.reverse is told


def test_keys_of_other_types_are_told_by_their_type():
    class Key:
        """A value that may be anything."""

    kept = plain(Key())

    assert (type(kept), kept.rpartition(".")[2]) == (TypeName, "Key>")
    assert plain("x" * 200) == "x" * MAX_KEY + "…"
    assert plain(b"x" * 200) == b"x" * MAX_KEY


def test_a_uuid_of_a_subclass_is_read_without_asking_it():
    class Own(uuid.UUID):
        """As drivers make them."""

        def __str__(self):
            raise AssertionError("nobody may ask")

    class Bare(uuid.UUID):
        """One that was never filled."""

        def __init__(self):
            pass

    assert plain(Own(int=5)) == uuid.UUID(int=5)
    assert type(plain(Bare())) is TypeName
    assert instance_key(User(pk=Own(int=5))) == ("auth.User", uuid.UUID(int=5))
