"""Tests of CAPTURE_CPU: what each receiver took of its thread's CPU clock, and that nobody else pays."""

from __future__ import annotations

import ast
import inspect
import textwrap
from itertools import count

import pytest
from django.db import connection, transaction
from django.dispatch import Signal

from tracing.analysis.time_split import TimeSplit, split_time
from tracing.instrumentation import patching
from tracing.instrumentation.database import queries
from tracing.instrumentation.dispatch import cpu
from tracing.instrumentation.dispatch.options import Options
from tracing.instrumentation.dispatch.synchronous import sync_sender
from tracing.instrumentation.inlining import InliningError, changed
from tracing.spans.records import Method
from tracing.testing import capture_dispatches

pytestmark = pytest.mark.usefixtures("stock", "no_failures")


class Clock:
    """A CPU clock that stands still unless somebody computes."""

    def __init__(self):
        self.now = 1_000

    def __call__(self):
        return self.now

    def compute(self, nanoseconds):
        self.now += nanoseconds


@pytest.fixture
def clock(monkeypatch):
    """Record with a clock of our own in the place of the thread's."""
    clock = Clock()
    monkeypatch.setitem(cpu.NAMES, "thread_clock", clock)
    monkeypatch.setattr(queries._ReadingHook, "thread_clock", clock)
    monkeypatch.setattr(queries, "thread_clock", clock)
    patching.instrument(options=Options(cpu=True))
    return clock


def spent(captured):
    """Return what each receiver took, by its name."""
    return {
        call.receiver.name.rpartition(".")[2]: call.cpu_ns
        for dispatch in captured.trace.dispatches
        for call in dispatch.receiver_calls
    }


def test_each_receiver_has_what_it_computed_itself(clock):
    outer, inner = Signal(), Signal()

    def first(sender, **kwargs):
        clock.compute(50)

    def second(sender, **kwargs):
        clock.compute(20)
        inner.send(sender)
        clock.compute(3)
        return "something"

    def below(sender, **kwargs):
        clock.compute(400)

    outer.connect(first)
    outer.connect(second)
    inner.connect(below)
    with capture_dispatches() as captured:
        clock.compute(7)
        outer.send(None)
        outer.send_robust(None)

    assert spent(captured) == {"first": 50, "second": 23, "below": 400}


def test_receiver_that_raises_and_the_one_after_it_have_theirs(clock):
    signal = Signal()

    def fails(sender, **kwargs):
        clock.compute(60)
        raise ValueError

    def goes_on(sender, **kwargs):
        clock.compute(5)

    signal.connect(fails)
    signal.connect(goes_on)
    with capture_dispatches() as robust:
        signal.send_robust(None)
    with capture_dispatches() as plain, pytest.raises(ValueError):  # noqa: PT011 - any will do.
        signal.send(None)

    assert spent(robust) == {"fails": 60, "goes_on": 5}
    assert spent(plain) == {"fails": 60, "goes_on": None}


@pytest.mark.django_db(databases="__all__")
def test_what_a_query_computes_is_no_time_of_python(clock):
    signal = Signal()

    def asks(sender, **kwargs):
        clock.compute(10)
        with connection.cursor() as cursor:
            connection.connection.create_function("compute", 0, lambda: clock.compute(900))
            cursor.execute("SELECT compute()")

    signal.connect(asks)
    if connection.vendor != "sqlite":
        pytest.skip("only SQLite computes in the process")
    with capture_dispatches() as captured:
        signal.send(None)

    assert spent(captured) == {"asks": 10}


@pytest.mark.django_db(transaction=True)
def test_what_callbacks_send_is_not_the_receivers_own(clock):
    outer, inner = Signal(), Signal()

    def leaves(sender, **kwargs):
        clock.compute(1)
        with transaction.atomic():
            transaction.on_commit(lambda: inner.send(sender))

    def below(sender, **kwargs):
        clock.compute(400)

    outer.connect(leaves)
    inner.connect(below)
    with capture_dispatches() as captured:
        outer.send(None)

    assert spent(captured) == {"leaves": 1, "below": 400}


async def test_async_receivers_and_who_waits_for_them_are_not_read(clock):
    signal = Signal()

    async def waits(sender, **kwargs):
        clock.compute(10)

    def computes(sender, **kwargs):
        clock.compute(10)

    signal.connect(waits)
    signal.connect(computes)
    with capture_dispatches() as captured:
        await signal.asend(None)

    assert spent(captured) == {"waits": None, "computes": None}


def test_receiver_that_waits_for_async_ones_is_not_read(clock):
    outer, inner = Signal(), Signal()

    def sends(sender, **kwargs):
        inner.send(sender)

    async def waits(sender, **kwargs):
        clock.compute(10)

    outer.connect(sends)
    inner.connect(waits)
    with capture_dispatches() as captured:
        outer.send(None)

    assert spent(captured) == {"sends": None, "waits": None}


def test_who_holds_djangos_own_function_is_read_as_well(clock):
    signal = Signal()
    held = patching.STOCK_SENDS[Method.SEND]

    def computes(sender, **kwargs):
        clock.compute(30)

    signal.connect(computes)
    with capture_dispatches() as captured:
        held(signal, None)
        held(signal, None)

    assert [call.cpu_ns for each in captured.trace.dispatches for call in each.receiver_calls] == [
        30,
        30,
    ]


def test_real_clock_tells_computing_from_waiting():
    patching.instrument(options=Options(cpu=True))
    signal = Signal()
    held = []

    def computes(sender, **kwargs):
        for number in count():
            held.append(number)
            if number == 20_000:
                return

    signal.connect(computes)
    with capture_dispatches() as captured:
        signal.send(None)
    (call,) = captured.trace.dispatches[0].receiver_calls
    split = split_time([call])

    assert call.cpu_ns > 0
    assert sum(split) == call.self_ns


# -- without the setting


def test_without_the_setting_the_loops_are_those_of_the_source():
    for method in (Method.SEND, Method.SEND_ROBUST):
        loop = sync_sender(method, None, Options())
        read = sync_sender(method, None, Options(cpu=True))
        plain = loop.__code__
        read.__code__ = changed(read, cpu.with_readings, cpu.NAMES)

        assert loop.__code__ in sync_sender.__code__.co_consts
        assert "thread_clock" not in {*plain.co_names, *plain.co_freevars}
        assert read.__code__.co_names.count("thread_clock") == 1
        assert read.__code__.co_freevars == plain.co_freevars


def test_without_the_setting_nothing_is_read(monkeypatch):
    monkeypatch.setattr(queries, "thread_clock", lambda: pytest.fail("the clock was read"))
    monkeypatch.setitem(cpu.NAMES, "thread_clock", lambda: pytest.fail("the clock was read"))
    patching.instrument()
    signal = Signal()

    def hears(sender, **kwargs):
        pass

    signal.connect(hears)
    with capture_dispatches() as captured:
        signal.send(None)

    assert spent(captured) == {"hears": None}


def test_loop_without_the_places_is_refused():
    source = textwrap.dedent(inspect.getsource(sync_sender)).replace("events += kept", "pass")

    with pytest.raises(InliningError, match="readings of the CPU clock"):
        cpu.with_readings(ast.parse(source))


# -- divided


def test_self_time_is_divided_into_computing_sql_and_waiting():
    from tests.tracing.analysis.building import TraceBuilder

    build = TraceBuilder()
    sent = build.dispatch()
    calls = [
        build.call(sent, own_ns=100, query_ns=30, query_count=1, cpu_ns=20),
        build.call(sent, own_ns=100, cpu_ns=101),
        build.call(sent, own_ns=50, query_ns=60, query_count=1, cpu_ns=10),
    ]

    assert [split_time([call]) for call in calls] == [(20, 30, 50), (100, 0, 0), (0, 50, 0)]
    assert split_time(calls) == TimeSplit(120, 80, 50)
    assert split_time([*calls, build.call(sent, own_ns=5)]) is None
    assert split_time([sent]) is None
    assert split_time([]) is None
