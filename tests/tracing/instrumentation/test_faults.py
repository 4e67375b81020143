"""Whatever fails in the recording, the application's result is what it would have been."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import inspect
import os
import socket
import subprocess
import sys
import textwrap
import threading
import traceback
import tracemalloc
import weakref
from asyncio.base_events import BaseEventLoop
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextvars import ContextVar, copy_context
from pathlib import Path

import pytest
from django.contrib.auth.models import Group
from django.db import connection, models, transaction
from django.db.models import signals
from django.dispatch import Signal
from django.test.utils import isolate_apps

from tests.tracing.instrumentation.conftest import recording
from tests.tracing.instrumentation.programs import RUNS_TOGETHER, Program, ReceiverSpec, run
from tracing.instrumentation import buffer as recording_buffer
from tracing.instrumentation import context, failures, sampling
from tracing.instrumentation.assembly import assembler
from tracing.instrumentation.attributes import arguments, callsites, names, values
from tracing.instrumentation.attributes.values import Redaction
from tracing.instrumentation.connections import changes as connections
from tracing.instrumentation.connections import receivers, registry
from tracing.instrumentation.database import queries
from tracing.instrumentation.dispatch import asynchronous, coroutines, orphans, synchronous
from tracing.instrumentation.dispatch import receivers as resolved
from tracing.instrumentation.dispatch.options import Options
from tracing.instrumentation.patching import instrument
from tracing.instrumentation.scopes import requests, standalone
from tracing.spans.records import Kind, Outcome, TransactionOutcome

pytestmark = pytest.mark.usefixtures("stock", "keeper")

RECEIVERS = (
    ReceiverSpec("function", (("send", "send", 1, 0), ("return", "int"))),
    ReceiverSpec("method", (("raise", "value"),)),
    ReceiverSpec(
        "async_function", (("sleep", 1), ("asend", "asend_robust", 1, 0), ("return", "int"))
    ),
    ReceiverSpec("async_function", (("sleep", 1), ("raise", "odd"))),
    ReceiverSpec("partial", (("set", 3),)),
    ReceiverSpec("async_method", (("set", 4),)),
)


def program(method):
    """Return a program that passes through every part of a dispatch by *method*."""
    if not method.startswith("asend"):
        connections = [(0, 0), (0, 4), (0, 1), (0, 2), (1, 4), (2, 4), (3, 4)]
    elif RUNS_TOGETHER:
        connections = [(0, 2), (0, 3), (1, 5), (2, 4), (2, 1), (3, 4)]
    else:
        connections = [(0, 0), (0, 2), (0, 3), (1, 5), (2, 4), (2, 1), (3, 5)]
    return Program(
        ("caching", "plain", "plain", "reversed"),
        RECEIVERS,
        (
            *(("connect", signal, receiver, None, False, None) for signal, receiver in connections),
            ("send", method, 0, 0, "instance"),
            ("send", method, 1, 0, "two"),
            ("send", method, 1, 4, "nothing"),
            ("send", method, 2, 0, "nothing"),
            ("send", method, 3, 0, "nothing"),
            ("disconnect", 3, 4, None, None),
            ("send", method, 3, 0, "nothing"),
        ),
    )


class Broken(Exception):
    pass


def broken(*args, **kwargs):
    raise Broken


# Not the clock and the name of a class: they are C functions that cannot fail.
PLACES = [
    (synchronous, "place_of"),
    (asynchronous, "place_of"),
    (resolved, "cached_receivers"),
    (resolved, "uncached_receivers"),
    (resolved, "resolve"),
    (resolved, "ResolvedReceivers"),
    (coroutines, "error_text"),
    (asynchronous, "opening_of"),
    (synchronous, "drop"),
    (asynchronous, "drop"),
    (standalone, "decide"),
    (context, "begin"),
    (context, "finish"),
    (recording_buffer.ActiveTrace, "open_buffer"),
    (recording_buffer.ActiveTrace, "branch"),
    (recording_buffer.Buffer, "here"),
    (receivers, "details_reader"),
    (receivers, "sender_reference"),
    (registry, "twins_among"),
    (registry, "connections_of"),
    (receivers, "receiver_set"),
    (receivers, "_receiver_set"),
    (names, "receiver_label"),
    (names, "sender_name"),
    (names, "_describe"),
    (orphans, "receiver_set"),
    (orphans, "sender_name"),
    (orphans, "current"),
    (arguments, "instance_key"),
    (arguments, "plain"),
    (values.Redaction, "named"),
    (callsites, "classify"),
    (sampling.Sampler, "decide"),
    (requests, "started"),
]


@pytest.fixture
def expected():
    """Return what stock Django does with the program of each method."""
    return {
        method: run(program(method)) for method in ("send", "send_robust", "asend", "asend_robust")
    }


def run_broken(patch, owner, name, method, *, recorded):
    active = recording_buffer.ActiveTrace(Kind.BLOCK, "faults") if recorded else None
    if active is not None:
        context.begin(active)
    try:
        patch.setattr(owner, name, broken)
        return run(program(method))
    finally:
        patch.undo()
        if active is not None:
            context.finish(active)
        context.enter(None)


@pytest.mark.usefixtures("unfinished")
@pytest.mark.parametrize(("owner", "name"), PLACES, ids=[f"{o.__name__}.{n}" for o, n in PLACES])
def test_failure_inside_the_recording_changes_nothing(
    monkeypatch, frozen_heap, expected, owner, name
):
    monkeypatch.setattr(failures, "counts", failures.Counter())
    actual = {}

    undo = instrument(options=Options(values=Redaction()), sql=False, side_effects=False)
    for recorded in (True, False):
        for method in expected:
            with pytest.MonkeyPatch.context() as patch:
                actual[method, recorded] = run_broken(patch, owner, name, method, recorded=recorded)
    undo()

    for (method, recorded), log in actual.items():
        for mine, stock in zip(log[:-1], expected[method], strict=False):
            assert mine == stock, (method, recorded)
        assert len(log) == len(expected[method])


def nothing(**named):
    return 5


def down(levels, call):
    """Call *call* with *levels* more frames on the stack."""
    return down(levels - 1, call) if levels else call()


def outcomes_near_the_limit(signal, method, levels):
    """Return what a send gives at each depth from just enough stack to far too little."""
    found = []
    for level in levels:
        try:
            found.append([value for _receiver, value in down(level, lambda: method(signal, "x"))])
        except RecursionError:
            found.append("recursion")
    return found


@pytest.fixture
def untraced():
    """Take coverage out: it costs levels, and Python drops a trace function that meets the limit."""
    trace = sys.gettrace()
    sys.settrace(None)
    yield
    sys.settrace(trace)


@pytest.mark.thorough
@pytest.mark.usefixtures("uncollected", "untraced")
@pytest.mark.parametrize("condition", ["recorded", "lone", "unrecorded"])
@pytest.mark.parametrize("kind", ["plain", "orphan", "robust", "raising", "overridden"])
def test_recursion_limit_is_met_where_django_meets_it(monkeypatch, kind, condition):
    class Overridden(Signal):
        def _live_receivers(self, sender):
            return super()._live_receivers(sender)

    def raising(**named):
        raise ValueError("in vain")

    signal = Overridden() if kind == "overridden" else Signal()
    other = Signal()
    other.connect(nothing, weak=False)
    if kind != "orphan":
        signal.connect(raising if kind in {"raising", "robust"} else nothing, weak=False)

    def method(signal, sender):
        try:
            if kind == "robust":
                return [(r, str(v)) for r, v in signal.send_robust(sender)]
            return signal.send(sender)
        except ValueError:
            return [(None, "raised")]

    # A C function: it takes no frame of the stack.
    monkeypatch.setattr("django.dispatch.dispatcher.logger.error", "".format)
    depth = len(list(frames()))
    limit = sys.getrecursionlimit()
    levels = range(limit - depth - 80, limit - depth + 2)
    expected = outcomes_near_the_limit(signal, method, levels)

    undo = instrument(sql=False, side_effects=False)
    if condition == "recorded":
        with recording():
            actual = outcomes_near_the_limit(signal, method, levels)
    elif condition == "lone":
        actual = outcomes_near_the_limit(signal, method, levels)
    else:
        before = context.enter(recording_buffer.UNRECORDED)
        actual = outcomes_near_the_limit(signal, method, levels)
        context.leave(before)
    undo()

    # From Python 3.12 on a call costs a level more or less, as the interpreter has specialised it.
    slack = int(sys.version_info >= (3, 12))
    # Django looks receivers up two frames deeper than it calls them; what is remembered takes none.
    spared = 2 + slack if kind in {"plain", "robust", "raising"} else slack
    earlier = [[*expected[n:], *["recursion"] * n] for n in range(slack + 1)]
    later = [[*expected[:1] * n, *expected[: len(expected) - n]] for n in range(spared + 1)]
    assert actual in [*earlier, *later]
    assert context.current() is None


def frames():
    frame = sys._getframe(1)
    while frame is not None:
        yield frame
        frame = frame.f_back


@pytest.mark.parametrize("asynchronous", [False, True], ids=["sync", "async"])
@pytest.mark.parametrize("method", ["send", "asend", "send_robust", "asend_robust"])
def test_traceback_shows_no_frame_of_the_recording_to_pytest(method, asynchronous):
    signal = Signal()
    error = KeyboardInterrupt if method.endswith("robust") else ValueError

    def receiver(**named):
        raise error("now")

    async def async_receiver(**named):
        raise error("now")

    signal.connect(async_receiver if asynchronous else receiver, weak=False)
    undo = instrument(sql=False, side_effects=False)

    with recording(), pytest.raises(error) as caught:
        found = getattr(signal, method)("x")
        if asyncio.iscoroutine(found):
            asyncio.run(found)
    undo()

    own = [
        (frame.f_code.co_name, bool(frame.f_locals.get("__tracebackhide__")))
        for frame, _line in traceback.walk_tb(caught.value.__traceback__)
        if frame.f_globals.get("__name__", "").startswith("tracing.")
    ]
    assert [name for name, hidden in own if not hidden] == []


# -- Ends of programs ------------------------------------------------------------------------


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, GeneratorExit])
def test_error_that_is_no_exception_passes_and_closes_the_dispatch(error):
    signal = Signal()

    def inner(**named):
        raise error("now")

    signal.connect(inner, weak=False)
    signal.connect(nothing, weak=False)
    undo = instrument(sql=False, side_effects=False)
    with recording() as recorded, pytest.raises(error, match="now"):
        signal.send_robust("x")
    undo()

    [dispatch] = recorded.trace.dispatches
    assert [call.outcome for call in dispatch.receiver_calls] == [
        Outcome.CANCELLED if error is GeneratorExit else Outcome.RAISED,
        Outcome.SKIPPED,
    ]
    assert dispatch.exception_type == error.__name__


def test_error_whose_text_cannot_be_had_leaves_the_later_receivers_where_they_belong(monkeypatch):
    outer, inner = Signal(), Signal()

    def failing(**named):
        raise ValueError("text")

    inner.connect(failing, weak=False)
    inner.connect(nothing, weak=False)
    outer.connect(lambda **named: inner.send_robust("inner"), weak=False)
    outer.connect(nothing, weak=False)
    undo = instrument(sql=False, side_effects=False)
    monkeypatch.setattr(coroutines, "error_text", broken)
    with recording() as recorded:
        outer.send("outer")
    undo()

    first, second = recorded.trace.dispatches
    assert [call.outcome for call in first.receiver_calls] == [Outcome.RETURNED] * 2
    assert [call.outcome for call in second.receiver_calls] == [Outcome.RAISED, Outcome.RETURNED]
    assert [call.exception_type for call in second.receiver_calls] == ["ValueError", ""]
    assert second.parent_number == first.receiver_calls[0].number


def test_task_that_is_cancelled_in_a_receiver_is_recorded_as_cancelled():
    signal = Signal()
    begun = asyncio.Event()

    async def waiting(**named):
        begun.set()
        await asyncio.Event().wait()

    signal.connect(waiting, weak=False)

    async def main():
        task = asyncio.create_task(signal.asend("x"))
        await begun.wait()
        task.cancel("enough")
        with pytest.raises(asyncio.CancelledError):
            await task
        return task.cancelled()

    undo = instrument(sql=False, side_effects=False)
    with recording() as recorded:
        was_cancelled = asyncio.run(main())
    undo()

    [dispatch] = recorded.trace.dispatches
    assert was_cancelled
    assert [call.outcome for call in dispatch.receiver_calls] == [Outcome.CANCELLED]
    assert dispatch.exception_type == "CancelledError"


@pytest.mark.usefixtures("unfinished")
def test_receiver_that_does_not_return_is_seen_as_running_and_then_unknown():
    signal = Signal()
    begun, over = threading.Event(), threading.Event()

    def hanging(**named):
        begun.set()
        over.wait(120)

    signal.connect(hanging, weak=False)
    undo = instrument(sql=False, side_effects=False)
    active = recording_buffer.ActiveTrace(Kind.BLOCK, "hanging")

    def work():
        context.begin(active)
        signal.send("x")

    thread = threading.Thread(target=work)
    thread.start()
    assert begun.wait(120)
    seen = assembler.snapshot(active)
    again = assembler.snapshot(active)
    active.end = context.clock()
    ended = assembler.assemble(active)
    over.set()
    thread.join()
    undo()

    assert seen.status == "running"
    assert not seen.final
    assert [d.receiver_calls[0].outcome for d in seen.dispatches] == [Outcome.UNKNOWN]
    assert len(again.dispatches) == 1
    assert [d.receiver_calls[0].outcome for d in ended.dispatches] == [Outcome.UNKNOWN]


@pytest.mark.process
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_process_forked_while_recording_goes_on_and_ends_well():
    signal = Signal()
    read, write = os.pipe()

    def forking(**named):
        child = os.fork()
        if child == 0:
            try:
                os.write(write, b"child " + str(signal.send("nested", deep=True)[0][1]).encode())
            finally:
                os._exit(0)
        os.waitpid(child, 0)
        return os.read(read, 100)

    def receiver(sender, **named):
        return forking() if sender == "root" else 7

    signal.connect(receiver, weak=False)
    undo = instrument(sql=False, side_effects=False)
    with recording() as recorded:
        responses = signal.send("root")
    undo()
    os.close(read)
    os.close(write)

    assert responses == [(receiver, b"child 7")]
    assert [dispatch.sender for dispatch in recorded.trace.dispatches] == ["'root'"]


FORKED_WHILE_ASSEMBLING = """
import os, sys
os.environ["DJANGO_SETTINGS_MODULE"] = "tests.settings"
import django
django.setup()
import tracing
from django.dispatch import Signal
from tracing import pipeline
from tracing.instrumentation import context, failures, patching
from tracing.instrumentation.assembly import assembler
from tracing.instrumentation.database import pending
from tracing.instrumentation.scopes import tasks
from tracing.exporters.memory import MemoryExporter
signal = Signal()
signal.connect(lambda **named: 1, weak=False)
memory = MemoryExporter()
pipeline.configure([memory])
context.set_processor(pending.PendingTraces(pipeline.default))
patching.instrument(sql=False)
with tracing.trace("work") as block:
    signal.send("parent")
    locks = [assembler.reading_lock, tasks._lock]
    for lock in locks:
        lock.acquire()
    child = os.fork()
    if not child:
        signal.send("child")
        assert tracing.flush(30)
        [trace] = memory.traces
        assert [d.sender for d in trace.dispatches] == ["'child'"], trace
        assert trace.parent_trace_id == block.trace_id, trace
        assert not context.running
        os._exit(bool(failures.counts))
    for lock in locks:
        lock.release()
    code = os.waitpid(child, 0)[1]
    signal.send("parent")
assert tracing.flush(30)
[trace] = memory.traces
assert [d.sender for d in trace.dispatches] == ["'parent'"] * 2, trace
print("code", code)
"""


@pytest.mark.process
def test_process_forked_while_another_thread_assembles_records_its_own(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", FORKED_WHILE_ASSEMBLING],
        cwd=Path(__file__).parents[3],
        capture_output=True,
        text=True,
        check=False,
    )

    assert (done.stdout, done.returncode) == ("code 0\n", 0), done.stderr


SHUTDOWN = """
import atexit, os, sys, threading, time
os.environ["DJANGO_SETTINGS_MODULE"] = "tests.settings"
import django
django.setup()
import tracing
tracing.instrument()
from django.dispatch import Signal
signal = Signal()
signal.connect(lambda **named: 1, weak=False)

def last():
    print("last", signal.send("at the end")[0][1], flush=True)

def work():
    while True:
        signal.send("x")

for _ in range(2):
    threading.Thread(target=work, daemon=True).start()
atexit.register(last)
time.sleep(0.3)
signal.send("main")
print("over", flush=True)
"""


@pytest.mark.process
def test_interpreter_that_ends_while_threads_dispatch_ends_well():
    root = Path(__file__).parents[3]
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(SHUTDOWN)],
        cwd=root,
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )

    # Threads that send without end leave more than can be written: the loss is told, and nothing else.
    told = ("dropped because more came", "could be written; ")
    said = [line for line in done.stderr.splitlines() if not any(word in line for word in told)]
    assert (done.returncode, said) == (0, [])
    assert done.stdout == "over\nlast 1\n"


# -- Memory ----------------------------------------------------------------------------------


@pytest.mark.thorough
def test_trace_that_nobody_drains_stays_within_its_bound_and_counts_the_loss():
    signal = Signal()
    signal.connect(nothing, weak=False)
    undo = instrument(sql=False, side_effects=False)
    with recording() as recorded:
        for _ in range(100_000):
            signal.send("x")
        [events] = [buffer.events for buffer in recorded.active.buffers]
        held = sum(
            map(sys.getsizeof, {id(value): value for value in events}.values()), len(events) * 8
        )
    undo()

    trace = recorded.trace
    assert len(events) <= recording_buffer.BUFFER_LIMIT + 10
    assert held / trace.dispatch_count < 300
    assert trace.dispatch_count + trace.dropped_count == 100_000
    assert trace.dropped_count > 0


@pytest.mark.thorough
def test_what_is_recorded_is_nothing_for_the_garbage_collector():
    outer, inner = Signal(), Signal(use_caching=True)
    group = Group(pk=5, name="five")
    outer.connect(lambda **named: inner.send(Group, instance=group, number=1) and None, weak=False)
    inner.connect(lambda **named: "said", weak=False)
    signals.pre_save.connect(nothing, sender=Group, weak=False, dispatch_uid="objects")
    save = {"instance": group, "raw": False, "using": "default", "update_fields": None}
    undo = instrument(sql=False, side_effects=False)
    try:
        with recording() as recorded:
            outer.send("first")
            gc.disable()
            before = gc.get_count()[0]
            for _ in range(200):
                outer.send("x", instance=None, number=1)
                signals.pre_save.send(Group, **save)
            made = gc.get_count()[0] - before
    finally:
        gc.enable()
        undo()
        signals.pre_save.disconnect(sender=Group, dispatch_uid="objects")

    assert recorded.trace.dispatch_count == 602
    assert made < 50


@pytest.mark.thorough
def test_dispatches_that_are_dropped_take_no_memory(monkeypatch):
    signal = Signal()
    signal.connect(nothing, weak=False)
    monkeypatch.setattr(synchronous, "BUFFER_LIMIT", 100)
    undo = instrument(sql=False, side_effects=False)
    with recording() as recorded:
        for _ in range(200):
            signal.send("x")
        tracemalloc.start()
        for _ in range(3_000):
            signal.send("x")
        held = tracemalloc.get_traced_memory()[0]
        tracemalloc.stop()
    undo()

    assert held < 5_000
    assert recorded.trace.dropped_count > 3_000


def in_a_thread(work):
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()


@contextlib.contextmanager
def narrow(limit):
    """Give the buffers room for *limit* values only, as if nothing had drained them for long."""
    with pytest.MonkeyPatch.context() as patch:
        for module in (recording_buffer, synchronous, asynchronous, connections, queries):
            patch.setattr(module, "BUFFER_LIMIT", limit)
        yield


def atomic_block(signal):
    with transaction.atomic(savepoint=True):
        pass


def on_commit_callback(signal):
    transaction.on_commit(nothing)


def query(signal):
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")


def bulk_update(signal):
    Group.objects.update(name="bulk")


def call_a_port(signal):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as caller:
        caller.connect(("127.0.0.1", 9))  # Datagrams: nobody needs to be there.


def thread(signal):
    in_a_thread(lambda: signal.send("thread"))


def work_item(signal):
    with ThreadPoolExecutor(1) as executor:
        executor.submit(signal.send, "work item").result()


def connecting(signal):
    other = Signal()
    other.connect(nothing, weak=False)
    other.disconnect(nothing)


@pytest.mark.django_db
@pytest.mark.parametrize(
    "work",
    [
        atomic_block,
        on_commit_callback,
        query,
        bulk_update,
        call_a_port,
        thread,
        work_item,
        connecting,
    ],
)
def test_no_kind_of_item_fills_a_stream_beyond_its_limit(work, stock, no_failures):
    signal = Signal()
    signal.connect(nothing, weak=False)
    signals.post_save.connect(nothing, sender=Group, dispatch_uid="narrow", weak=False)
    Group.objects.create(name="one")
    undo = instrument()
    try:
        with narrow(120), recording() as recorded:
            for _ in range(60):
                work(signal)
            lengths = [len(buffer.events) for buffer in recorded.active.buffers]
    finally:
        undo()
        signals.post_save.disconnect(sender=Group, dispatch_uid="narrow")

    assert max(lengths) <= 135
    assert len(lengths) <= 41
    assert recorded.trace.dropped_count >= 20


@pytest.mark.django_db(transaction=True)
def test_fate_of_a_transaction_is_known_though_its_begin_found_no_room(stock, no_failures):
    signal = Signal()
    signal.connect(nothing, weak=False)
    undo = instrument()
    try:
        with recording(segments=True) as recorded:
            with narrow(100):
                for _ in range(20):
                    signal.send("filling")
                with transaction.atomic():
                    transaction.set_rollback(True)
                    assembler.keep_numbers(recorded.active)
                    signal.send("inside")
                signal.send("after")
    finally:
        undo()

    known = {d.sender: d.transaction for d in recorded.trace.dispatches[-2:]}
    assert known == {
        "'inside'": TransactionOutcome.ROLLED_BACK,
        "'after'": TransactionOutcome.NONE,
    }


@pytest.mark.thorough
@pytest.mark.parametrize("way", ["thread", "work_item", "task"])
def test_long_trace_lets_go_of_threads_and_tasks_that_are_through(way, stock, no_failures):
    signal = Signal()
    signal.connect(nothing, weak=False)

    async def one():
        signal.send("task")

    async def some():
        await asyncio.gather(*(asyncio.create_task(one()) for _ in range(50)))

    undo = instrument(sql=False, side_effects=False)
    counts = []
    with recording(segments=True) as recorded:
        for _ in range(4):
            if way == "task":
                asyncio.run(some())
            else:
                for _ in range(50):
                    (thread if way == "thread" else work_item)(signal)
            assembler.keep_numbers(recorded.active)
            counts.append(len(recorded.active.buffers))
    undo()

    assert counts[1:] == [counts[0]] * 3
    assert recorded.trace.dispatch_count == 200
    assert recorded.trace.dropped_count == 0


def test_callback_of_a_task_that_is_through_is_still_recorded(stock, no_failures):
    signal = Signal()
    signal.connect(nothing, weak=False)

    async def child():
        signal.send("task")
        asyncio.get_running_loop().call_later(0.01, signal.send, "callback")

    async def main():
        await asyncio.create_task(child())
        assembler.keep_numbers(recorded.active)
        await asyncio.sleep(0.05)

    undo = instrument(sql=False, side_effects=False)
    with recording(segments=True) as recorded:
        asyncio.run(main())
    undo()

    assert [d.sender for d in recorded.trace.dispatches] == ["'task'", "'callback'"]


def two_named(self, coro, *, name=None, context=None, **named):
    """Create a task as Python 3.13.3 does, and before it without others than the two."""
    return STOCK_CREATE_TASK(self, coro, name=name, context=context, **named)


def any_named(self, coro, **named):
    """Create a task as Python 3.14 does, which names no argument."""
    return STOCK_CREATE_TASK(self, coro, **named)


STOCK_CREATE_TASK = BaseEventLoop.create_task


@pytest.mark.parametrize("original", [STOCK_CREATE_TASK, two_named, any_named])
def test_tasks_are_created_as_without_tracing_and_go_on_with_the_work(
    stock, no_failures, monkeypatch, original
):
    monkeypatch.setattr(BaseEventLoop, "create_task", original)
    signal, below = Signal(), Signal()
    below.connect(nothing, weak=False)
    told = ContextVar("told", default="nothing")

    async def child():
        below.send("below")
        return told.get()

    def receiver(**named):
        loop = asyncio.get_running_loop()
        context = copy_context()
        context.run(told.set, "given")
        tasks.append(loop.create_task(child()))
        tasks.append(loop.create_task(child(), name="named"))
        tasks.append(loop.create_task(child(), name="both", context=context))

    signal.connect(receiver, weak=False)

    async def main():
        told.set("own")
        signal.send("above")
        seen = [(task.get_name() in {"named", "both"}, await task) for task in tasks]
        source = [task._source_traceback[-1].filename for task in tasks]
        return seen, source, str(inspect.signature(BaseEventLoop.create_task))

    tasks = []
    expected = asyncio.run(main(), debug=True)
    undo = instrument(sql=False, side_effects=False)
    tasks = []
    with recording() as recorded:
        found = asyncio.run(main(), debug=True)
    undo()

    [above] = recorded.trace.dispatches[0].receiver_calls
    assert found == expected
    assert expected[0] == [(False, "own"), (True, "own"), (True, "given")]
    below = recorded.trace.sent_by()[above.number]
    assert [child.sender for child in below] == ["'below'"] * 3


@pytest.mark.slow
@pytest.mark.parametrize("method", ["send", "asend"])
def test_long_trace_that_is_drained_holds_no_more_than_a_short_one(frozen_heap, method):
    signal = Signal()

    async def receiver(**named):
        return 1

    signal.connect(nothing if method == "send" else receiver, weak=False)

    def some(count):
        async def main():
            for _ in range(count):
                await signal.asend("x")

        if method == "send":
            for _ in range(count):
                signal.send("x")
        else:
            # In development mode asyncio would walk the stack for each future.
            asyncio.run(main(), debug=False)
        # Only now is the trace in sight of a worker that earlier tests have left.
        context.running[number] = active
        list(assembler.drain())
        del context.running[number]
        gc.collect()
        return tracemalloc.get_traced_memory()[0]

    undo = instrument(sql=False, side_effects=False)
    grown = []
    while len(grown) < 3 and (not grown or grown[-1] >= 500_000):
        with recording(segments=True) as recorded:
            active = recorded.active
            number = active.root.number
            del context.running[number]
            some(2_000)
            tracemalloc.start()
            held = [some(2_000) for _ in range(6)]
            tracemalloc.stop()
        grown.append(min(held[3:]) - min(held[:3]))
    undo()

    # A dispatch that stayed would hold hundreds of bytes, 2,000 of them half a megabyte in each round. A
    # round may hold more once: other threads allocate, too. What stays does so each time.
    assert min(grown) < 500_000


@pytest.mark.parametrize("caching", [False, True])
def test_no_sender_is_kept_alive_by_a_signal_that_lives_on(caching):
    signal = Signal(use_caching=caching)
    signal.connect(nothing, weak=False)

    class Sender:
        pass

    undo = instrument(sql=False, side_effects=False)
    with recording():
        signal.send(Sender, thing=Sender())
        reference = weakref.ref(Sender)
        del Sender
        gc.collect()
        alive = reference()
    undo()

    assert alive is None


def test_no_model_is_kept_alive_by_the_signals_of_saving():
    signals.post_save.connect(nothing, dispatch_uid="alive", weak=False)
    undo = instrument(sql=False, side_effects=False)
    with recording() as recorded, isolate_apps("tests"):

        class Passing(models.Model):
            class Meta:
                app_label = "tests"

        facts = {"created": True, "raw": False, "using": "default", "update_fields": None}
        signals.post_save.send(Passing, instance=Passing(pk=3), **facts)
        reference = weakref.ref(Passing)
        del Passing
    gc.collect()
    alive = reference()
    undo()
    signals.post_save.disconnect(dispatch_uid="alive")

    assert alive is None
    assert recorded.trace.dispatches[-1].instance == "tests.Passing:3"


def test_nothing_is_kept_alive_by_a_trace_that_waits():
    class Thing:
        pass

    signal = Signal()
    thing, error = Thing(), ValueError("kept?")

    def raising(**named):
        raise error  # noqa: F821 - deleted below, on purpose.

    signal.connect(raising)
    seen = [weakref.ref(o) for o in (signal, thing, raising)]
    undo = instrument(options=Options(values=Redaction()), sql=False, side_effects=False)
    with recording() as recorded:
        try:
            signal.send(thing, instance=thing, error=error)
        except ValueError:
            pass
        del signal, thing, raising, error
        gc.collect()
        alive = [reference() for reference in seen]
    undo()

    assert alive == [None, None, None]
    assert len(recorded.trace.dispatches) == 1


def test_trace_that_was_assembled_leaves_nothing_for_the_garbage_collector(keeper):
    signal, inner = Signal(), Signal()

    def passing_on(**named):
        inner.send("y")

    signal.connect(passing_on, weak=False)
    inner.connect(nothing, weak=False)
    undo = instrument(sql=False, side_effects=False)
    collecting = gc.isenabled()
    try:
        signal.send("x")
        keeper.traces()
        gc.collect()
        gc.disable()
        before = count_recording()
        signal.send("x")
        [trace] = keeper.traces()
        after = count_recording()
    finally:
        if collecting:
            gc.enable()
        undo()

    assert len(trace.dispatches) == 2
    # What earlier tests have left may go meanwhile.
    assert not after - before


def count_recording():
    """Return how many objects of the recording itself are alive, by the name of their type."""
    modules = {
        "tracing.instrumentation.buffer",
        "tracing.instrumentation.assembly.knowledge",
        "tracing.instrumentation.assembly.state",
        "tracing.instrumentation.assembly.assembler",
    }
    return Counter(type(o).__name__ for o in gc.get_objects() if type(o).__module__ in modules)
