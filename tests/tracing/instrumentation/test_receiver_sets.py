"""What is remembered of receivers: found again while anybody needs it, bounded, recovering, counted."""

from __future__ import annotations

import gc
from collections import Counter

import pytest
from django.dispatch import Signal

from tests.tracing.instrumentation.conftest import recording
from tracing.instrumentation import context, failures
from tracing.instrumentation.attributes import callsites, names
from tracing.instrumentation.connections import receiver_sets
from tracing.instrumentation.dispatch import orphans
from tracing.instrumentation.patching import instrument
from tracing.instrumentation.recent import Recent, forgotten


class Sender:
    pass


def hears(**named):
    return None


async def hears_later(**named):
    return None


@pytest.fixture
def small(monkeypatch, stock):
    """Give the memory of receiver sets room for ten, twice."""
    numbers = receiver_sets._Numbers()
    numbers._size = 10
    monkeypatch.setattr(receiver_sets, "_by_number", numbers)
    monkeypatch.setattr(receiver_sets, "_by_parts", Recent(10))
    forgotten.clear()
    undo = instrument(sql=False, side_effects=False)
    before = context.set_processor(None)
    yield
    context.set_processor(before)
    undo()
    forgotten.clear()


def test_a_memory_keeps_what_is_used_and_lets_the_rest_go():
    memory = Recent(10)
    memory.put("used", 0)
    for number in range(1_000):
        memory.put(number, number)
        assert memory.get("used") == 0

    assert memory.get(0) is None
    assert memory.get(999) == 999
    assert len(memory) <= 20


def test_what_is_taken_out_of_a_memory_is_in_neither_generation():
    memory = Recent(2)
    for number in range(3):
        memory.put(number, number)
    memory.get(0)

    assert memory.take(0) == 0
    assert memory.take(0) is None


def test_failures_of_very_many_kinds_are_counted_together(monkeypatch, caplog):
    monkeypatch.setattr(failures, "counts", Counter())
    for number in range(300):
        failures.failed(f"place {number}", ValueError())

    assert failures.counts.total() == 300
    assert failures.counts["elsewhere"] == 200
    assert len(caplog.records) == 101


def test_files_of_code_made_while_running_are_forgotten(monkeypatch):
    monkeypatch.setattr(callsites, "is_library", {})
    monkeypatch.setattr(callsites, "_LIMIT", 10)
    for number in range(100):
        callsites.classify(f"<piece {number}>")

    assert len(callsites.is_library) <= 10


def test_what_a_memory_lets_go_is_counted():
    forgotten.clear()
    memory = Recent(10, "examples")
    for number in range(100):
        memory.put(number, number)

    assert forgotten["examples"] + len(memory) == 100
    forgotten.clear()


def test_after_many_senders_a_signal_is_named_as_before(small):
    signal, other = Signal(), Signal()
    signal.connect(hears)
    other.connect(hears)
    for number in range(100):
        signal.send(f"job-{number}")

    with recording() as recorded:
        other.send("last")

    [dispatch] = recorded.trace.dispatches
    assert dispatch.sender == "'last'"
    assert [call.receiver.name for call in dispatch.receiver_calls] == [f"{__name__}.hears"]
    assert forgotten["receiver sets"] >= 80
    assert not forgotten["dispatches without names"]


def test_what_djangos_cache_holds_is_not_forgotten(small):
    held, passing = Signal(use_caching=True), Signal()
    held.connect(hears)
    passing.connect(hears)
    held.send(Sender)
    for number in range(100):
        passing.send(f"job-{number}")

    with recording() as recorded:
        held.send(Sender)

    assert [dispatch.sender for dispatch in recorded.trace.dispatches] == [f"{__name__}.Sender"]
    assert not forgotten["dispatches without names"]


def test_what_was_forgotten_before_it_was_read_keeps_its_shape(small):
    signal, inner = Signal(), Signal()

    def sends(**named):
        inner.send("inner")

    signal.connect(sends)
    signal.connect(hears_later)
    inner.connect(hears)
    with recording() as recorded:
        signal.send("outer")
        receiver_sets._by_number.clear()
        receiver_sets._by_parts.clear()
        for number in range(100):
            inner.send(f"job-{number}")

    outer = recorded.trace.dispatches[0]
    assert outer.signal == outer.sender == receiver_sets.FORGOTTEN
    assert [(call.receiver.name, call.receiver.is_async) for call in outer.receiver_calls] == [
        (receiver_sets.FORGOTTEN, False),
        (receiver_sets.FORGOTTEN, True),
    ]
    inside = recorded.trace.sent_by()[outer.receiver_calls[0].number]
    assert [each.depth for each in inside] == [1]
    roots = [dispatch for dispatch in recorded.trace.dispatches if dispatch.parent_number is None]
    assert len(roots) == 101
    assert forgotten["dispatches without names"] >= 2


def test_orphan_senders_beyond_the_limit_are_counted_together(small, monkeypatch):
    monkeypatch.setattr(orphans, "MOST_COUNTED", 10)
    signal = Signal()

    with recording() as recorded:
        for number in range(50):
            signal.send(f"job-{number}")

    assert sum(count for _signal, _sender, count in recorded.trace.orphans) == 50
    assert len(recorded.trace.orphans) == 11
    assert ("(more signals and senders)", "(more senders)", 40) in recorded.trace.orphans


def test_labels_that_look_alike_are_one_object():
    class Document:
        def changed(self, **named):
            pass

    first, second = (names.receiver_label(Document().changed) for _ in range(2))

    assert first is second


def test_receiver_sets_hold_no_signal(stock):
    signal = Signal()
    found = receiver_sets.receiver_set(signal, "sender", (), 0)

    del signal
    gc.collect()

    assert found.signal == "django.dispatch.Signal (gone)"
