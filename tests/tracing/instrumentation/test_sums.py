"""No sum can be more than the time that went by: random trees of sends, awaits, threads and recursion."""

from __future__ import annotations

import asyncio
import os
import threading
from collections import Counter, defaultdict
from contextvars import Context, copy_context

import pytest
from django.dispatch import Signal
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.tracing.instrumentation.conftest import recording
from tracing.analysis import tree
from tracing.instrumentation import context
from tracing.instrumentation.assembly import assembler
from tracing.instrumentation.patching import instrument
from tracing.spans.intervals import time_once
from tracing.store.summing import Sum, Wire, subtract_repeats

pytestmark = pytest.mark.usefixtures("traced", "frozen_heap")

NAMES = ("again", "other")
"""Two receivers: each is often found inside itself, and the two inside one another."""


@pytest.fixture
def traced(stock, keeper, no_failures):
    undo = instrument()
    yield
    undo()


def plans():
    """Return a strategy of what a receiver does: a list of (way, receiver, plan of the receiver)."""
    ways = ("send", "await", "gather", "task", "thread", "left thread")
    return st.recursive(
        st.just([]),
        lambda below: st.lists(
            st.tuples(st.sampled_from(ways), st.sampled_from(NAMES), below), max_size=3
        ),
        max_leaves=12,
    )


class Program:
    """Signals whose receivers do what they are given as a plan."""

    def __init__(self):
        self.sync = {name: Signal() for name in NAMES}
        self.asynchronous = {name: Signal() for name in NAMES}
        self.left = []
        for name in NAMES:
            self.sync[name].connect(self._receiver(), weak=False)
            self.asynchronous[name].connect(self._async_receiver(), weak=False)
            # A second one, which runs at the same time.
            self.asynchronous[name].connect(self._pause(), weak=False)

    def _receiver(self):
        def receiver(plan, **named):
            for way, name, below in plan:
                if way in {"thread", "left thread"}:
                    self._in_thread(way, name, below)
                elif way == "send":
                    self.sync[name].send(None, plan=below)
                else:
                    self._in_thread("thread", name, below, run=self._run_alone)

        return receiver

    def _async_receiver(self):
        async def receiver(plan, **named):
            gathered = []
            for way, name, below in plan:
                if way == "send":
                    self.sync[name].send(None, plan=below)
                elif way in {"thread", "left thread"}:
                    self._in_thread(way, name, below)
                elif way == "await":
                    await self.asynchronous[name].asend(None, plan=below)
                elif way == "task":
                    task = asyncio.ensure_future(self.asynchronous[name].asend(None, plan=below))
                    await asyncio.sleep(0)
                    await task
                else:
                    gathered.append(self.asynchronous[name].asend(None, plan=below))
            await asyncio.gather(*gathered)

        return receiver

    @staticmethod
    def _pause():
        async def pause(**named):
            for _ in range(3):
                await asyncio.sleep(0)

        return pause

    def _run_alone(self, name, plan):
        asyncio.run(self.asynchronous[name].asend(None, plan=plan))

    def _in_thread(self, way, name, below, run=None):
        def target():
            if run is not None:
                run(name, below)
            else:
                self.sync[name].send(None, plan=below)

        thread = threading.Thread(target=copy_context().run, args=(target,))
        thread.start()
        if way == "thread":
            thread.join()
        else:
            self.left.append(thread)

    def run(self, plan):
        with recording() as recorded:
            for way, name, below in plan:
                if way == "send":
                    self.sync[name].send(None, plan=below)
                else:
                    self._run_alone(name, below)
            for thread in self.left:
                thread.join()
        return recorded.trace


def stored_sums(trace):
    """Return the sums of *trace* as the store makes them, by dispatch and by receiver."""
    wires = {}
    for dispatch in trace.dispatches:
        wire = wires.setdefault((dispatch.signal, dispatch.sender), Wire(0, 0))
        wire.own.durations.append(dispatch.duration_ns)
        wire.own.queries += dispatch.query_count
        for call in dispatch.receiver_calls:
            total = wire.calls.setdefault(id(call.receiver), Sum())
            total.durations.append(call.duration_ns)
    subtract_repeats(trace, lambda dispatch: wires[dispatch.signal, dispatch.sender], id)
    by_receiver = Counter()
    for wire in wires.values():
        for receiver, total in wire.calls.items():
            by_receiver[receiver] += total.after(None).total_ns
    return [wire.own.after(None) for wire in wires.values()], by_receiver


@settings(
    max_examples=int(os.environ.get("PROPERTY_EXAMPLES", "20")),
    deadline=None,
    derandomize="PROPERTY_EXAMPLES" not in os.environ,
    database=None,
    suppress_health_check=list(HealthCheck),
)
@given(plan=plans())
def test_no_sum_of_times_is_more_than_the_trace_took(plan):
    trace = Program().run(plan)

    most = tree.extent_ns(trace)
    by_thread = defaultdict(int)
    own = tree.self_times(trace)
    for dispatch in trace.dispatches:
        for call in dispatch.receiver_calls:
            assert 0 <= call.self_ns <= call.duration_ns
            assert call.start_ns >= dispatch.start_ns
            by_thread[dispatch.thread] += own[call.number]
    by_dispatch, by_receiver = stored_sums(trace)

    assert all(spent <= most for spent in by_thread.values()), by_thread
    assert all(total.total_ns <= most for total in tree.totals(trace))
    assert trace.signal_ns <= most
    assert all(total.total_ns <= most for total in by_dispatch)
    assert all(total <= most for total in by_receiver.values())
    for node in tree.flatten(tree.fold(trace)):
        assert node.self_ns <= node.total_ns <= most


def test_time_in_roots_counts_each_moment_once_over_segments(monkeypatch):
    monkeypatch.setattr(assembler, "SEGMENT_DISPATCHES", 1)
    outer, inner = Signal(), Signal()
    segments = []

    def send_beside(**named):
        thread = threading.Thread(target=Context().run, args=(in_trace, inner.send, None))
        thread.start()
        thread.join()
        # Only now is the trace in sight of a worker that earlier tests have left.
        context.running[number] = live
        segments.extend(assembler.drain())
        del context.running[number]

    def in_trace(send, sender):
        before = context.enter(live.open_stream())
        send(sender)
        context.leave(before)

    outer.connect(send_beside, weak=False)
    inner.connect(lambda **named: None, weak=False)
    with recording(segments=True) as recorded:
        live = recorded.live
        number = live.root.number
        del context.running[number]
        outer.send(None)
        outer.send(None)
    roots = [dispatch for part in (*segments, recorded.trace) for dispatch in part.dispatches]

    assert [len(part.dispatches) for part in segments] == [1, 2]
    assert all(dispatch.parent_number is None for dispatch in roots)
    assert sum(root.duration_ns for root in roots) > recorded.trace.signal_ns == time_once(roots)
