"""What a timer, a signal handler or a soft time limit raises reaches the application, wherever it comes."""

from __future__ import annotations

import asyncio
import gc
import sys
from contextlib import suppress

import pytest
from django.contrib.auth.models import Group
from django.core.handlers.wsgi import WSGIHandler
from django.core.mail import EmailMessage
from django.core.management import BaseCommand, call_command
from django.db import connection, transaction
from django.db.models.signals import post_save
from django.dispatch import Signal
from django.test import RequestFactory

import tracing
from tests.tracing.instrumentation.interrupting import (
    KINDS,
    WAYS,
    Abort,
    Interruption,
    Limit,
    interruptions,
)
from tracing.instrumentation import context, effects, failures
from tracing.instrumentation.assembly.assembler import assemble
from tracing.instrumentation.patching import instrument
from tracing.spans.records import Outcome

EVERY = 7
"""One place in so many is tried: prime, so that loops are met in different places."""


class Once:
    """A processor that keeps each trace once, as the pipeline does."""

    def __init__(self):
        self.ended = []

    def on_start(self, trace):
        pass

    def on_end(self, trace):
        if trace not in self.ended:
            self.ended.append(trace)

    def traces(self):
        ended, self.ended = self.ended, []
        return [assemble(active) for active in ended]


@pytest.fixture
def once(keeper):
    once = Once()
    context.set_processor(once)
    undo = instrument()
    trace = sys.gettrace()
    gc.disable()  # What interrupts a finalizer is lost without tracing, too.
    yield once
    gc.enable()
    sys.settrace(trace)
    undo()
    context.set_current(None)
    context.running.clear()


@pytest.fixture
def signals():
    ping, pong = Signal(), Signal(use_caching=True)

    def on_ping(sender, **named):
        pong.send(sender=sender, number=1, instance=None)

    def on_pong(sender, **named):
        return 5

    ping.connect(on_ping, weak=False)
    pong.connect(on_pong, weak=False)
    return ping, pong


class Sender:
    pass


def tree(dispatch, sent):
    return [
        [tree(inner, sent) for inner in sent.get(call.number, ())]
        for call in dispatch.receiver_calls
    ]


def check_what_comes_after(once, ping):
    """Prove that nothing is left of the interruption, and that what was recorded can be read."""
    assert context.running_buffer() is None
    assert context.running == {}
    for trace in once.traces():
        calls = [call for dispatch in trace.dispatches for call in dispatch.receiver_calls]
        assert not [call for call in calls if call.outcome is Outcome.RUNNING]
    with tracing.trace("after"):
        ping.send(sender=Sender)
    [trace] = once.traces()
    trees = [tree(root, trace.sent_by()) for root in trace.roots]
    assert (trace.name, trees) == ("after", [[[[[]]]]])


def interrupt_everywhere(program, once, ping, kind, way, *, every=EVERY):
    """Interrupt *program* at one place after another; return how often that was done."""
    known = dict(failures.counts)
    done = 0
    for interruption in interruptions(kind, way, every=every):
        reached = interruption.run(program)
        assert reached is interruption.sent, interruption.place
        check_what_comes_after(once, ping)
        done += interruption.sent
    assert dict(failures.counts) == known
    return done


def test_mail_is_noted_after_one_that_was_interrupted_anywhere(once):
    mail = EmailMessage(to=["shop@example.com"])

    def program():
        with tracing.trace("mail"):
            mail.send()

    places = 0
    for interruption in interruptions(Limit, WAYS[0]):
        interruption.run(program)
        once.traces()
        with suppress(Limit):
            program()
        [trace] = once.traces()
        assert [effect.kind for effect in trace.side_effects] == ["mail"], interruption.place
        places += interruption.sent
    assert places > 20


def test_mail_is_noted_after_one_whose_end_was_interrupted_twice(once, monkeypatch):
    def interrupted(*_given):
        raise Limit

    mail = EmailMessage(to=["shop@example.com"])
    with monkeypatch.context() as patch, suppress(Limit), tracing.trace("interrupted"):
        patch.setattr(effects._Effect, "end", interrupted)
        mail.send()
    with tracing.trace("after"):
        mail.send()
    _interrupted, after = once.traces()

    assert [effect.kind for effect in after.side_effects] == ["mail"]


def test_task_is_noted_once_where_its_end_is_done_again(once):
    hook = effects._Enqueueing(lambda: ("shop.tasks.mail", "default"))
    with tracing.trace("tasks"):
        begun = hook.begin()
        hook.end(None, begun)
        hook.end(None, begun)
    [trace] = once.traces()

    assert [effect.target for effect in trace.side_effects] == ["shop.tasks.mail"]


@pytest.mark.thorough
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("kind", KINDS)
def test_dispatches_in_a_block_pass_on_what_interrupts_them(once, signals, kind, way):
    ping, pong = signals
    nobody = Signal()

    def program():
        with tracing.trace("work", number=1):
            ping.send(sender=Sender, instance=None)
            nobody.send(sender=Sender)
            pong.send(sender=Sender)

    assert interrupt_everywhere(program, once, ping, kind, way) > 10


@pytest.mark.thorough
@pytest.mark.parametrize("way", WAYS)
def test_lone_and_failing_dispatches_pass_on_what_interrupts_them(once, signals, way):
    ping, _pong = signals
    failing = Signal()

    def fail(**named):
        raise ValueError("no")

    failing.connect(fail, weak=False)

    def program():
        ping.send(sender=Sender)
        with pytest.raises(ValueError, match="no"):
            failing.send(sender=Sender)
        with tracing.suppress():
            ping.send(sender=Sender)

    assert interrupt_everywhere(program, once, ping, Limit, way) > 10


@pytest.mark.parametrize("way", WAYS)
def test_what_interrupts_suppress_suppresses_nothing_later(once, signals, way):
    ping, _pong = signals

    def program():
        with tracing.suppress():
            pass

    assert interrupt_everywhere(program, once, ping, Limit, way, every=1) > 10


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.thorough
def test_new_receivers_pass_on_what_interrupts_their_naming(once, signals, way):
    ping, _pong = signals

    def program():
        fresh, caching = Signal(), Signal(use_caching=True)
        with tracing.trace("work"):
            for signal in (fresh, caching):
                signal.connect(receive)
                signal.send(sender=Sender)
                signal.disconnect(receive)
                signal.send(sender=Sender)

    def receive(**named):
        pass

    assert interrupt_everywhere(program, once, ping, Limit, way, every=151) > 3


@pytest.mark.filterwarnings(
    "ignore:.*was never awaited", "ignore::pytest.PytestUnraisableExceptionWarning"
)
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.thorough
def test_async_dispatches_pass_on_what_interrupts_them(once, signals, way):
    ping, _pong = signals
    both = Signal()

    async def receive(**named):
        await asyncio.sleep(0)

    async def receive_too(**named):
        return 1

    both.connect(receive, weak=False)
    both.connect(receive_too, weak=False)
    loop = asyncio.new_event_loop()

    async def main():
        with tracing.trace("work"):
            await both.asend(sender=Sender)

    def program():
        loop.run_until_complete(main())

    loop.run_until_complete(main())
    once.traces()
    assert interrupt_everywhere(program, once, ping, Limit, way, every=13) > 10
    loop.close()
    gc.collect()  # Here, where nobody minds coroutines that were never awaited.


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.thorough
def test_orm_passes_on_what_interrupts_it(once, signals, way):
    ping, _pong = signals

    def saved(**named):
        transaction.on_commit(lambda: ping.send(sender=Sender))

    post_save.connect(saved, sender=Group)

    def program():
        with tracing.trace("work"), transaction.atomic():
            Group.objects.create(name="group")
            transaction.set_rollback(True)
        with transaction.atomic():
            Group(name="new").save()
        Group.objects.all().delete()

    program()
    once.traces()
    try:
        for interruption in interruptions(Limit, way, every=53):
            assert interruption.run(program) is interruption.sent
            connection.close()  # It may stand within a transaction, as without tracing.
            check_what_comes_after(once, ping)
            Group.objects.all().delete()
            once.traces()
    finally:
        post_save.disconnect(saved, sender=Group)


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("kind", [Limit, Abort])
def test_requests_pass_on_what_interrupts_them(once, signals, kind):
    ping, _pong = signals
    handler = WSGIHandler()
    statuses = []

    def get():
        environ = RequestFactory()._base_environ(PATH_INFO="/nowhere/")
        response = handler(environ, lambda status, headers: statuses.append(status[:3]))
        list(response)
        response.close()

    get()
    once.traces()
    for interruption in interruptions(kind, "signal", every=101):
        reached = interruption.run(get)
        # Django makes an answer of an Exception in a view, without tracing, too.
        assert reached is interruption.sent or statuses[-1] == "500", interruption.place
        # A request whose end nobody told ends where the next one begins.
        get()
        assert context.current() is None, interruption.place
        once.traces()
        check_what_comes_after(once, ping)
    assert interruption.at > 300


def test_commands_pass_on_what_interrupts_them(once, signals):
    ping, _pong = signals

    class Pinging(BaseCommand):
        requires_system_checks = ()

        def handle(self, **options):
            ping.send(sender=Sender)

    def program():
        call_command(Pinging())

    assert interrupt_everywhere(program, once, ping, Limit, "thread", every=11) > 3


def test_a_failure_of_our_own_is_no_interruption():
    def statement():
        return {}["missing"]

    caught = []
    for call in (statement, lambda: {}[1], lambda: int("x"), lambda: len(5)):
        try:
            call()
        except (KeyError, ValueError, TypeError) as error:
            caught.append(failures.is_own(error))

    assert caught == [True] * 4


def test_interruption_is_told_by_its_way(once, signals):
    ping, _pong = signals
    for way in WAYS:
        interruption = Interruption(3, Limit, way)
        assert interruption.run(lambda: ping.send(sender=Sender))


class Rolled(Exception):
    """Rolls a block back."""


def roll_back():
    """Leave callbacks in blocks that are rolled back."""
    for outer in (True, False):
        with suppress(Rolled), transaction.atomic():
            with suppress(Rolled), transaction.atomic():
                transaction.on_commit(roll_back)
                raise Rolled
            if outer:
                transaction.on_commit(roll_back)
                raise Rolled


@pytest.mark.django_db(transaction=True)
def test_atomic_is_interrupted_by_us_only_where_nothing_breaks(once):
    roll_back()
    broken = set()
    for interruption in interruptions(Limit, "signal"):
        assert interruption.run(roll_back) is interruption.sent
        # Between BEGIN and the end of Atomic.__enter__ only the query itself is noted.
        if connection.in_atomic_block or connection.run_on_commit or is_in_transaction(connection):
            broken.add(interruption.place.partition(",")[0])
            connection.in_atomic_block = False
            connection.run_on_commit = []
            connection.rollback()
        once.traces()

    assert interruption.at > 150
    assert broken <= {"_Hook.succeeded", "_note"}


def is_in_transaction(connection):
    """Return whether the database is in a transaction by what its driver says."""
    driver = connection.connection
    if connection.vendor == "sqlite":
        return driver.in_transaction
    return connection.vendor == "postgresql" and driver.info.transaction_status != 0
