"""What on_commit callbacks do, judged by the rules: not as if the receiver had done it in its call."""

from __future__ import annotations

import functools
import json

import pytest
from django.contrib.auth.models import Group, User
from django.core.mail import send_mail
from django.core.management import call_command
from django.db import transaction
from django.db.models import signals
from django.dispatch import Signal

from tests.tracing.analysis.hazards.test_real import connected, ids, only
from tracing.analysis.hazards import find_again
from tracing.testing import capture_dispatches

pytestmark = [
    pytest.mark.django_db(transaction=True, databases="__all__"),
    pytest.mark.usefixtures("unhurried"),
    pytest.mark.filterwarnings("ignore:.*MAILERS"),
]

placed = Signal()
bought = Signal()


def query():
    return User.objects.filter(username="a").exists()


def query_after_commit(sender, **kwargs):
    transaction.on_commit(query)


class Reporter:
    def on_save(self, sender, **kwargs):
        transaction.on_commit(functools.partial(query))

    def __call__(self, sender, **kwargs):
        transaction.on_commit(query, robust=True)


reporter = Reporter()


def query_in_call(sender, **kwargs):
    query()


def query_at_the_end_of_its_own_block(sender, **kwargs):
    query()
    with transaction.atomic():
        transaction.on_commit(query)


def send_after_commit(sender, **kwargs):
    transaction.on_commit(lambda: placed.send(sender=None))


def load_group(folder):
    fixture = folder / "groups.json"
    fixture.write_text(json.dumps([{"model": "auth.group", "pk": 5, "fields": {"name": "five"}}]))
    call_command("loaddata", fixture, verbosity=0)


AFTER_COMMIT = [
    query_after_commit,
    reporter.on_save,
    reporter,
    functools.partial(query_after_commit),
]


@pytest.mark.parametrize("receiver", AFTER_COMMIT)
def test_raw_query_leaves_what_a_callback_asked_alone(tmp_path, receiver):
    with (
        connected(signals.post_save, receiver, sender=Group, weak=False),
        capture_dispatches() as captured,
    ):
        load_group(tmp_path)

    assert ids(captured) == []
    [dispatch] = [each for each in captured.trace.dispatches if each.sender == "auth.Group"]
    assert [call.query_count for call in dispatch.receiver_calls] == [0]


def test_raw_query_leaves_receivers_of_what_a_callback_sent_alone(tmp_path):
    with (
        connected(signals.post_save, send_after_commit, sender=Group),
        connected(placed, query_in_call),
        capture_dispatches() as captured,
    ):
        load_group(tmp_path)

    assert ids(captured) == []


def test_raw_query_counts_a_callback_that_ran_inside_the_call():
    group = Group(pk=5, name="five")
    with (
        connected(signals.post_save, query_at_the_end_of_its_own_block, sender=Group),
        capture_dispatches() as captured,
    ):
        group.save_base(raw=True)

    [call] = captured.trace.dispatches[0].receiver_calls
    assert [count for sql, count, _ in call.statements if sql.startswith("SELECT")] == [2]
    assert ids(captured) == ["raw-query"]


@pytest.mark.parametrize("receiver", AFTER_COMMIT)
def test_n_plus_one_names_callbacks(receiver):
    with (
        connected(signals.post_save, receiver, sender=Group, weak=False),
        capture_dispatches() as captured,
        transaction.atomic(),
    ):
        groups = [Group.objects.create(name=f"g{number}") for number in range(5)]

    hazard = only(captured, "n-plus-one")
    assert len(groups) == 5
    assert " runs one query 5 times in on_commit callbacks that it registered in 5 calls (" in (
        hazard.message
    )
    assert (hazard.sender, hazard.line > 0) == ("auth.Group", True)
    assert "in on_commit" not in hazard.remedy


def test_n_plus_one_of_callbacks_is_told_again_where_statements_were_kept():
    with (
        connected(signals.post_save, query_after_commit, sender=Group),
        connected(signals.post_save, query_in_call, sender=Group),
        capture_dispatches() as captured,
        transaction.atomic(),
    ):
        for number in range(5):
            Group.objects.create(name=f"g{number}")
    trace = captured.trace
    trace.hazards = captured.hazards
    trace.diagnosis_context.callback_queries = []
    again = [hazard.receiver for hazard in find_again(trace) if hazard.hazard == "n-plus-one"]

    assert sorted(again) == [f"{__name__}.query_after_commit", f"{__name__}.query_in_call"]


@pytest.mark.parametrize("times", [1, 4])
def test_n_plus_one_leaves_callbacks_alone_that_ask_once_or_seldom(times):
    with (
        connected(signals.post_save, query_after_commit, sender=Group),
        capture_dispatches() as captured,
        transaction.atomic(),
    ):
        for number in range(times):
            Group.objects.create(name=f"g{number}")

    assert ids(captured) == []


def save_group(sender, **kwargs):
    with transaction.atomic():
        Group.objects.create(name="a")


def test_queries_of_a_callback_count_for_the_call_that_waits_for_it():
    with connected(bought, save_group):
        with capture_dispatches() as without:
            bought.send(sender=None)
        with (
            connected(signals.post_save, query_after_commit, sender=Group),
            capture_dispatches() as captured,
        ):
            Group.objects.all().delete()
            bought.send(sender=None)

    [alone] = without.trace.dispatches
    outer, inner = captured.trace.dispatches
    assert inner.receiver_calls[0].query_count == 0
    assert outer.receiver_calls[0].query_count == alone.receiver_calls[0].query_count + 1


def mail_in_a_block(sender, **kwargs):
    with transaction.atomic():
        send_mail("Sold", "", "shop@example.com", ["buyer@example.com"])


def mail(sender, **kwargs):
    send_mail("Sold", "", "shop@example.com", ["buyer@example.com"])


@pytest.mark.parametrize(
    ("receiver", "found"), [(mail_in_a_block, ["side-effect-in-transaction"]), (mail, [])]
)
def test_mail_of_a_receiver_of_what_a_callback_sent(receiver, found):
    with (
        connected(signals.post_save, send_after_commit, sender=Group),
        connected(placed, receiver),
        capture_dispatches() as captured,
        transaction.atomic(),
    ):
        Group.objects.create(name="a")

    assert ids(captured) == found


def save_after_commit(sender, instance, created, **kwargs):
    if not hasattr(instance, "again"):
        instance.again = True
        transaction.on_commit(instance.save)


def test_repeated_save_in_a_callback_is_named_as_such():
    group = Group.objects.create(name="a")
    with (
        connected(signals.post_save, save_after_commit, sender=Group),
        capture_dispatches() as captured,
        transaction.atomic(),
    ):
        group.save()

    hazard = only(captured, "repeated-save")
    assert "saves auth.Group:1 again in detached work" in hazard.message.replace(
        f":{group.pk} ", ":1 "
    )
    assert hazard.evidence[0].endswith(", in an on_commit callback, thread or task")


def test_time_of_what_a_callback_sends_is_not_the_own_time_of_the_call_that_waits():
    with (
        connected(bought, save_group),
        connected(signals.post_save, send_after_commit, sender=Group),
        connected(placed, query_in_call),
        capture_dispatches() as captured,
    ):
        bought.send(sender=None)

    outer, *inside = captured.trace.dispatches
    [call] = outer.receiver_calls
    assert [each.is_detached for each in inside] == [False, True]
    assert call.self_ns == call.duration_ns - sum(each.duration_ns for each in inside)
