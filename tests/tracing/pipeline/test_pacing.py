"""Pacing: how the worker leaves the interpreter to others, and how much it takes at a time."""

from __future__ import annotations

import threading
from types import SimpleNamespace

import pytest

from tracing.conf.parts import PipelineOptions
from tracing.pipeline import Pipeline, pacing, yield_interpreter
from tracing.pipeline.pacing import Pace
from tracing.spans.records import Kind, Trace

MS = 1_000_000


class Clock:
    """CPU time that passes when told to, and the rests that were taken, in ms."""

    def __init__(self):
        self.now = 0
        self.rests = []

    def work(self, pace, *slices):
        for each in slices:
            self.now += each * MS
            pace.rest()


@pytest.fixture
def clock(monkeypatch):
    made = Clock()
    monkeypatch.setattr(pacing, "thread_time_ns", lambda: int(made.now))
    monkeypatch.setattr(pacing, "sleep", lambda seconds: made.rests.append(round(seconds * 1e3, 3)))
    return made


def paced(clock, *, item_ms, seconds, is_hurried=lambda: False):
    """Return a pace that has learned what an item takes, in a batch of 100."""
    pace = Pace(is_hurried)
    for _ in range(60):
        pace.begin(100, 0)
        clock.now += item_ms * 100 * MS
        pace.end(100)
    pace.begin(100, seconds)
    return pace


def test_work_is_spread_over_the_time_until_the_next_batch(clock):
    # 40 ms of work in 80 % of 200 ms: three times as much rest.
    pace = paced(clock, item_ms=0.4, seconds=0.2)

    clock.work(pace, 0.5, 0.5, 2, 0.9, 0.2)

    assert clock.rests == [3, 6, 3.3]


def test_work_that_takes_all_the_time_gives_way_without_a_rest(clock):
    pace = paced(clock, item_ms=4, seconds=0.2)

    clock.work(pace, 1, 3)

    assert clock.rests == [0, 0]


def test_rest_is_never_long(clock):
    pace = paced(clock, item_ms=0.01, seconds=5)

    clock.work(pace, 50)

    assert clock.rests == [20]


def test_nobody_rests_while_somebody_waits(clock):
    waiting = []
    pace = paced(clock, item_ms=0.4, seconds=0.2, is_hurried=lambda: bool(waiting))

    clock.work(pace, 1)
    waiting.append("flush")
    clock.work(pace, 1)

    assert clock.rests == [3, 0]


def test_process_that_ends_gives_way_to_nobody(clock):
    pace = paced(clock, item_ms=0.4, seconds=0.2)
    pace.is_over = True

    clock.work(pace, 5)

    assert clock.rests == []


def test_batch_of_nothing_teaches_nothing(clock):
    pace = paced(clock, item_ms=0.4, seconds=0.2)
    clock.now += 500 * MS
    pace.end(0)
    pace.begin(100, 0.2)

    clock.work(pace, 1)

    assert clock.rests == [3]


class Yielding:
    """An exporter that yields, and notes where."""

    name = "yielding"

    def __init__(self):
        self.threads = []

    def export(self, batch):
        for _ in batch:
            yield_interpreter()
            self.threads.append((threading.current_thread().name, pacing._thread.pace is not None))

    def force_flush(self):
        pass

    def shutdown(self):
        pass


@pytest.mark.parametrize("synchronous", [False, True])
def test_worker_alone_is_paced(synchronous):
    exporter = Yielding()
    pipeline = Pipeline(PipelineOptions(synchronous=synchronous))
    pipeline.configure([exporter])
    try:
        pipeline.submit(Trace("1" * 32, Kind.BLOCK, "block", 0, 0, root_span_id="2" * 16))
        assert pipeline.force_flush()
    finally:
        pipeline.shutdown()

    name = threading.current_thread().name if synchronous else "tracing-worker"
    assert exporter.threads == [(name, not synchronous)]


class Taking(Yielding):
    """An exporter that takes what was recorded as it is, and notes how much at a time."""

    def __init__(self):
        self.sizes = []

    def encode(self, item):
        return item

    def export(self, batch):
        self.sizes.append(len(batch))


def test_what_has_piled_up_is_exported_in_small_batches():
    exporter = Taking()
    pipeline = Pipeline()
    pipeline.configure([exporter])
    pipeline._queue.extend([(SimpleNamespace(weight=1_200), 1_200)] * 10)

    assert pipeline.force_flush()
    pipeline.shutdown()

    assert exporter.sizes == [4, 4, 2]
