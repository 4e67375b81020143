"""Whatever fails in the recording around the dispatches, the application does what it would have done."""

from __future__ import annotations

import asyncio
import gc
import logging
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from django.contrib.auth.models import Group
from django.core import mail
from django.core.management import BaseCommand, CommandError, call_command
from django.db import transaction
from django.db.models.signals import post_save
from django.dispatch import Signal
from django.test import Client

from tests.tracing.instrumentation.conftest import recording
from tracing.instrumentation import context, effects, failures, propagation
from tracing.instrumentation.connections import changes, registry
from tracing.instrumentation.database import on_commit, queries, transactions
from tracing.instrumentation.patching import instrument
from tracing.instrumentation.scopes import commands, requests

pytestmark = [
    pytest.mark.usefixtures("stock", "keeper", "frozen_heap"),
    pytest.mark.django_db(transaction=True),
    # From Django 6.1 on, mail without MAILERS warns; what is tested is that it is sent.
    pytest.mark.filterwarnings("ignore:.*MAILERS"),
]


class Broken(Exception):
    pass


def broken(*args, **kwargs):
    raise Broken


def refuse():
    raise ValueError("no")


class Tidy(BaseCommand):
    """A command that succeeds, or fails when it is told to."""

    def add_arguments(self, parser):
        parser.add_argument("--fail", action="store_true")

    def handle(self, *, fail, **options):
        if fail:
            raise CommandError("too dusty")
        return "tidy"


def write(seen):
    """Commit, roll back to a savepoint, roll back, and write past the signals."""
    with transaction.atomic():
        Group.objects.create(name="kept")
        transaction.on_commit(lambda: seen.append("committed"))
        transaction.on_commit(refuse, robust=True)
        try:
            with transaction.atomic():
                Group.objects.create(name="undone")
                refuse()
        except ValueError as error:
            seen.append(f"savepoint: {error}")
    try:
        with transaction.atomic():
            Group.objects.create(name="gone")
            transaction.on_commit(refuse)
            refuse()
    except ValueError as error:
        seen.append(f"rollback: {error}")
    try:
        transaction.on_commit(refuse)
    except ValueError as error:
        seen.append(f"callback: {error}")
    Group.objects.bulk_create([Group(name="bulk")])
    seen.append(sorted(Group.objects.values_list("name", flat=True)))
    Group.objects.all().delete()


def send_mail(seen):
    sent = mail.EmailMessage("Sold", "", "shop@example.com", ["ada@example.com"]).send()
    seen.append((sent, mail.outbox[-1].subject))


def hand_over(seen):
    """Start a thread, give an executor work, and create a task."""
    thread = threading.Thread(target=seen.append, args=("thread",))
    thread.start()
    thread.join()
    with ThreadPoolExecutor(1) as pool:
        seen.append(pool.submit(str, "executor").result())

    async def main():
        async def work():
            return "task"

        return await asyncio.create_task(work())

    seen.append(asyncio.run(main()))


def run_commands(seen):
    seen.append(call_command(Tidy()))
    try:
        call_command(Tidy(), fail=True)
    except CommandError as error:
        seen.append(f"command: {error}")


def change_connections(seen):
    """Connect, disconnect, and lose a receiver."""
    signal = Signal()

    def kept(**named):
        return "kept"

    def short_lived(**named):
        return "short-lived"

    signal.connect(kept, dispatch_uid="kept")
    signal.connect(short_lived)
    seen.append([value for _, value in signal.send("x")])
    del short_lived
    gc.collect()
    seen.append([value for _, value in signal.send("x")])
    seen.extend((signal.disconnect(kept, dispatch_uid="kept"), signal.disconnect(kept)))
    seen.append((len(signal.receivers), signal.send("x")))


def ask(seen):
    seen.append(Client().get("/nowhere/").status_code)


ERRANDS = (write, send_mail, hand_over, run_commands, change_connections, ask)


def run_errands(caplog):
    """Run them all, within receivers of a signal; return all that the application can see."""
    seen = []
    caplog.clear()
    errand_sent = Signal()
    for errand in ERRANDS:

        def receiver(sender, *, errand=errand, **named):
            errand(seen)

        errand_sent.connect(receiver, weak=False)
    post_save.connect(change_connections_of_groups, sender=Group)
    try:
        errand_sent.send(sender=None)
    finally:
        post_save.disconnect(change_connections_of_groups, sender=Group)
    ask(seen)
    run_commands(seen)
    logged = [
        (record.name, record.getMessage())
        for record in caplog.records
        if record.name.startswith("django.db")
    ]
    return seen, logged


def change_connections_of_groups(**named):
    """Only be there, so that a write past the signals skips a receiver."""


PLACES = [
    (on_commit, "_note", "on_commit"),
    (on_commit, "_begin", "commit hook"),
    (commands, "decide", "command"),
    (commands, "error_text", "command"),
    (registry, "add", "connect"),
    (registry, "get", "disconnect"),
    (registry, "describe_dead", "dead receivers"),
    (changes, "_is_receiver", "connect"),
    (effects, "own_frame", "side effect"),
    (effects, "_setting", "side effect"),
    (propagation, "_continuation", "handing over"),
    (propagation, "_continuation", "create_task"),
    (propagation, "set_current", "taking over"),
    (requests, "_facts", "request_started"),
    (requests, "_is_request", "request_finished"),
    (queries.bypass, "note_write", "query"),
    (transactions, "savepoint", "savepoint"),
    (transactions, "rolled_back_to", "savepoint"),
    (transactions, "began", "transaction"),
    (transactions, "ended", "transaction"),
]


@pytest.mark.usefixtures("unfinished")
@pytest.mark.parametrize(("owner", "name", "place"), PLACES)
def test_failure_around_the_dispatches_changes_nothing(monkeypatch, caplog, owner, name, place):
    caplog.set_level(logging.ERROR)
    monkeypatch.setattr(failures, "counts", failures.Counter())
    expected = run_errands(caplog)

    undo = instrument()
    try:
        monkeypatch.setattr(owner, name, broken)
        alone = run_errands(caplog)
        with recording():
            recorded = run_errands(caplog)
    finally:
        undo()
        # A request whose end could not be noted is still running.
        context.enter(None)

    assert alone == expected
    assert recorded == expected
    assert failures.counts[f"{place}: Broken"] > 0


def test_errands_are_run_and_recorded(caplog):
    undo = instrument()
    with recording() as recorded:
        seen, logged = run_errands(caplog)
    undo()

    assert ["bulk", "kept"] in seen
    assert "command: too dusty" in seen
    assert ["kept", "short-lived"] in seen
    assert [name for name, _ in logged] == ["django.db.backends.base"]
    assert [bypass.operation for bypass in recorded.trace.bypasses] == ["bulk_create"]
    assert {change.change for change in recorded.trace.connection_changes} == {
        "connected",
        "disconnected",
    }
