"""Sums count each moment once: random trees of sends, awaits, threads and recursion, over segments, too."""

from __future__ import annotations

import asyncio
import os
import threading
from collections import defaultdict
from contextvars import Context, copy_context
from functools import partial
from itertools import count

import pytest
from django.dispatch import Signal
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.tracing.instrumentation.conftest import recording
from tracing.analysis import critical_path, tree
from tracing.analysis.index import extent_ns
from tracing.analysis.totals import totals
from tracing.instrumentation import context, words
from tracing.instrumentation.assembly import assembler, unread
from tracing.instrumentation.patching import instrument
from tracing.spans.intervals import sums_of, time_once
from tracing.spans.records import (
    Dispatch,
    Kind,
    Method,
    Outcome,
    ReceiverCall,
    ReceiverLabel,
    Trace,
)
from tracing.store.repeats import subtract_repeats
from tracing.store.summing import Sum, Wire

pytestmark = pytest.mark.usefixtures("traced", "frozen_heap")

NAMES = ("again", "other")
"""Two receivers: each is often found inside itself, and the two inside one another."""

SYNC = {name: Signal() for name in NAMES}
ASYNCHRONOUS = {name: Signal() for name in NAMES}
again, other = SYNC.values()
again_later, other_later = ASYNCHRONOUS.values()


class Car:
    pass


class Order:
    pass


SENDERS = (None, Car, Order)


@pytest.fixture
def traced(stock, keeper, no_failures):
    undo = instrument()
    yield
    undo()


def plans():
    """Return a strategy of what a receiver does: a list of (way, receiver, sender, plan of the receiver)."""
    ways = ("send", "await", "gather", "task", "thread", "left thread")
    return st.recursive(
        st.just([]),
        lambda below: st.lists(
            st.tuples(
                st.sampled_from(ways), st.sampled_from(NAMES), st.sampled_from(SENDERS), below
            ),
            max_size=3,
        ),
        max_leaves=12,
    )


class Program:
    """Receivers that do what they are given as a plan; the trace is read in segments meanwhile.

    Args:
        drains: At the beginning of which receiver calls a segment is made.
        most: Values that are read of one buffer at a time; None for all.
    """

    def __init__(self, drains=(), most=None):
        self.drains = drains
        self.most = most
        self.begun = 0
        self.left = []
        self.segments = []
        self.outcomes = set()
        """Of the calls in segments of the running trace."""
        self.running = None
        self.connections = []
        for name in NAMES:
            self._connect(SYNC[name], self._receiver())
            self._connect(ASYNCHRONOUS[name], self._async_receiver())
            # A second one, which runs at the same time.
            self._connect(ASYNCHRONOUS[name], self._pause())

    def _connect(self, signal, receiver):
        signal.connect(receiver, weak=False)
        self.connections.append((signal, receiver))

    def disconnect(self):
        for signal, receiver in self.connections:
            signal.disconnect(receiver)

    def _begin(self):
        self.begun += 1
        if self.begun in self.drains:
            self._read()

    def _read(self):
        with assembler.reading_lock:
            if self.running.reading is None:
                self.running.reading = assembler.Assembly(self.running)
            reading = self.running.reading
            reading.read(most=self.most)
            if reading.pending:
                segment = reading.segment(final=False)
                self.segments.append(segment)
                calls = [call for each in segment.dispatches for call in each.receiver_calls]
                self.outcomes.update(call.outcome for call in calls)

    def _receiver(self):
        def receiver(plan, **named):
            self._begin()
            for way, name, sender, below in plan:
                if way in {"thread", "left thread"}:
                    self._in_thread(way, SYNC[name].send, sender, below)
                elif way == "send":
                    SYNC[name].send(sender, plan=below)
                else:
                    self._in_thread("thread", self._run_alone, name, sender, below)

        return receiver

    def _async_receiver(self):
        async def receiver(plan, **named):
            self._begin()
            gathered = []
            for way, name, sender, below in plan:
                asend = ASYNCHRONOUS[name].asend
                if way == "send":
                    SYNC[name].send(sender, plan=below)
                elif way in {"thread", "left thread"}:
                    self._in_thread(way, SYNC[name].send, sender, below)
                elif way == "await":
                    await asend(sender, plan=below)
                elif way == "task":
                    task = asyncio.ensure_future(asend(sender, plan=below))
                    await asyncio.sleep(0)
                    await task
                else:
                    gathered.append(asend(sender, plan=below))
            await asyncio.gather(*gathered)

        return receiver

    def _pause(self):
        async def pause(**named):
            for _ in range(3):
                await asyncio.sleep(0)
            self._begin()

        return pause

    @staticmethod
    def _run_alone(name, sender, plan):
        asyncio.run(ASYNCHRONOUS[name].asend(sender, plan=plan))

    def _in_thread(self, way, run, *given):
        plan = given[-1]
        named = {"plan": plan} if run != self._run_alone else {}
        target = partial(run, *given[: len(given) - len(named)], **named)
        thread = threading.Thread(target=copy_context().run, args=(target,))
        thread.start()
        if way == "thread":
            thread.join()
        else:
            self.left.append(thread)

    def run(self, plan):
        """Return the segments of the trace, all of it in one if none were made on the way."""
        try:
            with recording() as recorded:
                self.running = recorded.active
                for way, name, sender, below in plan:
                    if way == "send":
                        SYNC[name].send(sender, plan=below)
                    else:
                        self._run_alone(name, sender, below)
                for thread in self.left:
                    thread.join()
        finally:
            self.disconnect()
        return [*self.segments, recorded.trace]


class StoredSums:
    """The sums of a trace as the store makes and reads them."""

    def __init__(self, segments):
        self.wires = {}
        for segment in segments:
            self._add(segment)

    def _add(self, segment):
        for dispatch in segment.dispatches:
            wire = self.wires.setdefault((dispatch.signal, dispatch.sender), Wire(0, 0))
            wire.own.durations.append(dispatch.duration_ns)
            for call in dispatch.receiver_calls:
                if call.was_called:
                    total = wire.calls.setdefault(call.receiver, Sum())
                    total.durations.append(call.duration_ns)
        subtract_repeats(segment, lambda dispatch: self.wires, lambda label: label)

    def of(self, signal, sender):
        """Return the time of a signal and sender; None is all of them."""
        repeated = self._own(signal, sender) if None in {signal, sender} else 0
        pairs = [pair for pair in self.wires if None not in pair]
        chosen = [p for p in pairs if signal in {None, p[0]} and sender in {None, p[1]}]
        return sum(self._own(*pair) for pair in chosen) - repeated

    def _own(self, *pair):
        return self.wires[pair].own.after(None).total_ns if pair in self.wires else 0

    def of_receiver(self, label):
        calls = [wire.calls[label] for wire in self.wires.values() if label in wire.calls]
        return sum(total.after(None).total_ns for total in calls)


examples = settings(
    max_examples=int(os.environ.get("PROPERTY_EXAMPLES", "20")),
    deadline=None,
    derandomize="PROPERTY_EXAMPLES" not in os.environ,
    database=None,
    suppress_health_check=list(HealthCheck),
)


@examples
@given(plan=plans())
def test_no_sum_of_times_is_more_than_the_trace_took(plan):
    (trace,) = Program().run(plan)

    most = extent_ns(trace)
    by_thread = defaultdict(int)
    own = critical_path.self_times(trace)
    for dispatch in trace.dispatches:
        for call in dispatch.receiver_calls:
            assert 0 <= call.self_ns <= call.duration_ns
            assert call.start_ns >= dispatch.start_ns
            by_thread[dispatch.thread] += own[call.number]

    assert all(spent <= most for spent in by_thread.values()), by_thread
    assert all(total.total_ns <= most for total in totals(trace))
    assert trace.signal_ns <= most
    for node in tree.flatten(tree.fold(trace)):
        assert node.self_ns <= node.total_ns <= most


@examples
@given(
    plan=plans(), drains=st.sets(st.integers(1, 15), max_size=4), most=st.sampled_from([None, 30])
)
@pytest.mark.thorough
def test_sums_count_each_moment_once(plan, drains, most):
    program = Program(drains, most)
    segments = program.run(plan)

    dispatches = [dispatch for segment in segments for dispatch in segment.dispatches]
    calls = [call for each in dispatches for call in each.receiver_calls if call.was_called]
    sums = StoredSums(segments)
    found, meant = {}, {}
    for key in {key for dispatch in dispatches for key in sums_of(dispatch)}:
        found[key] = sums.of(*key)
        meant[key] = time_once([each for each in dispatches if key in sums_of(each)])
    for label in {call.receiver for call in calls}:
        found[label] = sums.of_receiver(label)
        meant[label] = time_once([call for call in calls if call.receiver == label])
    roots = [dispatch for dispatch in dispatches if dispatch.parent_number is None]

    assert segments[-1].signal_ns == time_once(roots)
    assert program.outcomes <= {Outcome.RETURNED}
    if most is None:
        assert found == meant
    else:
        # What has ended may be taken for running while its end is not read: less is counted then.
        assert all(found[key] <= meant[key] for key in meant)


def test_time_in_roots_counts_each_moment_once_over_segments(monkeypatch):
    monkeypatch.setattr(unread, "SEGMENT_DISPATCHES", 1)
    # A worker that earlier tests have left asks as well.
    drain = assembler.drain
    monkeypatch.setattr(assembler, "drain", lambda: ())
    outer, inner = Signal(), Signal()
    segments = []

    def send_beside(**named):
        thread = threading.Thread(target=Context().run, args=(in_trace, inner.send, None))
        thread.start()
        thread.join()
        segments.extend(drain())

    def in_trace(send, sender):
        before = context.enter(active.open_buffer())
        send(sender)
        context.leave(before)

    outer.connect(send_beside, weak=False)
    inner.connect(lambda **named: None, weak=False)
    with recording(segments=True) as recorded:
        active = recorded.active
        outer.send(None)
        outer.send(None)
    roots = [dispatch for part in (*segments, recorded.trace) for dispatch in part.dispatches]

    assert [len(part.dispatches) for part in segments] == [1, 2]
    assert all(dispatch.parent_number is None for dispatch in roots)
    assert sum(root.duration_ns for root in roots) > recorded.trace.signal_ns == time_once(roots)


def test_asend_over_segments_keeps_its_queries_and_its_own_time():
    inner, outer = Signal(), Signal()

    def ask(**named):
        context.current().offer((words.QUERY, 0, 5, "default", None))

    async def send_thrice(**named):
        for _ in range(3):
            inner.send(None)
            program._read()

    inner.connect(ask, weak=False)
    outer.connect(send_thrice, weak=False)
    program = Program()
    program.disconnect()
    with recording() as recorded:
        program.running = recorded.active
        asyncio.run(outer.asend(None))
    segments = [*program.segments, recorded.trace]

    (sent,) = recorded.trace.dispatches
    (call,) = sent.receiver_calls
    inside = [dispatch for segment in program.segments for dispatch in segment.dispatches]
    assert [len(segment.dispatches) for segment in segments] == [1, 1, 1, 1]
    assert [
        [each.number for each in part.diagnosis_context.unfinished] for part in program.segments
    ] == [[sent.number]] * 3
    assert recorded.trace.sent_by() == {}
    assert (sent.query_count, sent.query_ns) == (3, 15)
    assert call.self_ns == call.duration_ns - time_once(inside)


def made_up_spans():
    """Return a strategy of dispatches at any times: (signal, sender, start, duration, their calls)."""
    moments = st.integers(0, 12)
    calls = st.lists(st.tuples(st.sampled_from(NAMES), moments, moments), max_size=2)
    names = st.sampled_from(NAMES)
    return st.lists(st.tuples(names, names, moments, moments, calls), max_size=9)


@settings(examples, max_examples=5 * examples.max_examples)
@given(spans=made_up_spans())
def test_sums_of_spans_at_any_times_count_each_moment_once(spans):
    numbers = count(1)
    dispatches = [
        Dispatch(
            number=next(numbers),
            signal=signal,
            sender=sender,
            start_ns=start,
            duration_ns=duration,
            depth=0,
            method=Method.SEND,
            receiver_calls=[
                # Each with a label of its own: equal ones are of one receiver.
                ReceiverCall(next(numbers), 0, ReceiverLabel(name), start + after, took)
                for name, after, took in calls
            ],
        )
        for signal, sender, start, duration, calls in spans
    ]
    calls = [call for each in dispatches for call in each.receiver_calls]
    trace = Trace("0" * 32, "", Kind.BLOCK, "made up", 0, 0, dispatches=dispatches)
    sums = StoredSums([trace])

    for key in {key for dispatch in dispatches for key in sums_of(dispatch)}:
        assert sums.of(*key) == time_once([each for each in dispatches if key in sums_of(each)])
    for label in {call.receiver for call in calls}:
        meant = time_once([call for call in calls if call.receiver == label])
        assert sums.of_receiver(label) == meant
