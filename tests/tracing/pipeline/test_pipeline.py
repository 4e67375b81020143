from __future__ import annotations

import logging
import re
import threading
import time

import pytest

from tests.tracing.samples import plain_trace
from tracing.conf.parts import PipelineOptions
from tracing.exporters.memory import MemoryExporter
from tracing.pipeline import Pipeline, TemporaryError, is_worker_thread


class Failing:
    """An exporter that raises what it is told to, and takes what it gets otherwise."""

    def __init__(self, name="failing", error=None, poison=None):
        self.name = name
        self.error = error
        self.poison = poison
        self.traces = []
        self.attempts = 0

    def export(self, batch):
        self.attempts += 1
        if self.error is not None:
            raise self.error
        if self.poison is not None and any(trace.trace_id == self.poison for trace in batch):
            raise KeyError("poison")
        self.traces += batch

    def force_flush(self):
        pass

    def shutdown(self):
        pass


class Gate:
    """An exporter that stands still until it is opened."""

    name = "gate"

    def __init__(self):
        self.reached = threading.Event()
        self.opened = threading.Event()
        self.traces = []

    def export(self, batch):
        self.reached.set()
        assert self.opened.wait(60)
        self.traces += batch

    def force_flush(self):
        pass

    def shutdown(self):
        pass


class Live:
    """An active trace: assembled in the worker."""

    def __init__(self, trace, error=None):
        self.trace = trace
        self.error = error
        self.assembled_in = ""

    def assemble(self):
        self.assembled_in = threading.current_thread().name
        if self.error is not None:
            raise self.error
        return self.trace


class Patient(Pipeline):
    """A pipeline whose flush waits until it is done, however busy the machine is."""

    assemble = staticmethod(Live.assemble)

    def force_flush(self, timeout=60):
        return super().force_flush(timeout)


@pytest.fixture
def make():
    """Return a function that makes a pipeline; all are shut at the end."""
    made = []

    def make_pipeline(*exporters, processors=(), **options):
        pipeline = Patient(PipelineOptions(**{"batch_seconds": 0.01, **options}))
        for exporter in exporters:
            pipeline.add_exporter(exporter)
        for processor in processors:
            pipeline.add_processor(processor)
        made.append(pipeline)
        return pipeline

    yield make_pipeline
    for pipeline in made:
        pipeline.shutdown(2)


def test_submitted_traces_arrive_in_order(make):
    memory = MemoryExporter()
    pipeline = make(memory)
    traces = [plain_trace(number) for number in range(50)]

    for trace in traces:
        pipeline.submit(trace)

    assert pipeline.force_flush()
    assert list(memory.traces) == traces
    assert pipeline.statistics().recorded == 50


def test_live_trace_is_assembled_in_the_worker(make):
    memory = MemoryExporter()
    pipeline = make(memory)
    active = Live(plain_trace(1))

    pipeline.on_end(active)
    pipeline.force_flush()

    assert list(memory.traces) == [active.trace]
    assert active.assembled_in == "tracing-worker"


def workers() -> set[threading.Thread]:
    """Return the workers that run: another test may have left that of the process's own pipeline."""
    return {thread for thread in threading.enumerate() if thread.name == "tracing-worker"}


def test_worker_starts_with_the_first_trace_and_is_a_daemon(make):
    before = workers()
    pipeline = make(MemoryExporter())
    made = workers()

    pipeline.submit(plain_trace(1))

    assert made == before
    assert [worker.daemon for worker in workers() - before] == [True]


def test_flush_of_nothing_starts_no_worker(make):
    before = workers()
    pipeline = make(MemoryExporter())

    assert pipeline.force_flush()
    assert workers() == before


def test_flush_gives_up_when_its_time_is_over(make):
    gate = Gate()
    pipeline = make(gate)
    pipeline.submit(plain_trace(1))
    assert gate.reached.wait(60)

    assert not pipeline.force_flush(0.05)

    gate.opened.set()
    assert pipeline.force_flush()
    assert len(gate.traces) == 1


def test_worker_knows_that_it_is_one(make):
    seen = []

    class Asking(MemoryExporter):
        def export(self, batch):
            seen.append(is_worker_thread())

    pipeline = make(Asking())
    pipeline.submit(plain_trace(1))
    pipeline.force_flush()

    assert seen == [True]
    assert not is_worker_thread()


def test_full_queue_drops_the_oldest_and_counts(make):
    gate = Gate()
    pipeline = make(gate, queue_limit=10)
    pipeline.submit(plain_trace(0))
    assert gate.reached.wait(60)
    traces = [plain_trace(number) for number in range(1, 21)]

    for trace in traces:
        pipeline.submit(trace)
    statistics = pipeline.statistics()
    gate.opened.set()

    assert [pipeline.force_flush(), pipeline.force_flush()] == [False, True]
    # Each of these traces weighs three: itself, a dispatch and a receiver call. The trace that the
    # exporter holds counts until it is taken.
    assert statistics.queued_items <= 10
    assert statistics.dropped == 20 - statistics.queued
    assert gate.traces[1:] == traces[-statistics.queued :]


def test_trace_that_cannot_be_assembled_is_lost_alone(make, caplog):
    memory = MemoryExporter()
    pipeline = make(memory)

    pipeline.submit(Live(plain_trace(1), ZeroDivisionError("test")))
    pipeline.submit(plain_trace(2))
    pipeline.force_flush()

    assert list(memory.traces) == [plain_trace(2)]
    assert pipeline.statistics().failed == 1


def test_processor_changes_and_discards(make):
    memory = MemoryExporter()

    def sample(trace):
        trace.user_id = "seen"
        return trace if trace.trace_id.endswith("1") else None

    pipeline = make(memory, processors=[sample])
    pipeline.submit(plain_trace(1))
    pipeline.submit(plain_trace(2))
    pipeline.force_flush()

    assert [(trace.trace_id, trace.user_id) for trace in memory.traces] == [(f"{1:032x}", "seen")]
    assert pipeline.statistics().discarded == 1


def test_processor_that_fails_lets_the_trace_pass(make):
    memory = MemoryExporter()

    def broken(trace):
        raise ValueError("test")

    pipeline = make(memory, processors=[broken])
    pipeline.submit(plain_trace(1))
    pipeline.force_flush()

    assert list(memory.traces) == [plain_trace(1)]


def test_segments_of_running_traces_are_drained(make):
    memory = MemoryExporter()
    pipeline = make(memory)
    segments = [[plain_trace(1, final=False)], []]
    remove = pipeline.add_drain(lambda: segments.pop(0) if segments else [])

    pipeline.submit(plain_trace(2))
    pipeline.force_flush()
    remove()

    assert {trace.trace_id for trace in memory.traces} == {f"{1:032x}", f"{2:032x}"}


@pytest.mark.parametrize("error", [TemporaryError("gone"), OSError(28, "No space left on device")])
def test_failing_exporter_is_retried_while_others_go_on(make, caplog, error):
    failing, memory = Failing(error=error), MemoryExporter()
    pipeline = make(failing, memory)
    traces = [plain_trace(number) for number in range(3)]

    for trace in traces:
        pipeline.submit(trace)
        assert not pipeline.force_flush()
    waiting = pipeline.statistics().exporters["failing"]
    failing.error = None
    assert pipeline.force_flush()

    assert list(memory.traces) == traces
    # Each flush asks once; where they lie far apart, the worker has asked in between as well.
    assert (waiting.waiting, waiting.dropped, waiting.failures >= 3) == (3, 0, True)
    assert type(error).__name__ in waiting.error
    assert failing.traces == traces
    messages = [r.getMessage() for r in caplog.records if r.name == "tracing"]
    assert len(messages) == 2, messages
    assert "cannot write" in messages[0]
    assert re.search(r"again after \d+ failed attempts; 0 traces lost", messages[1])


class _ExpectedError(TemporaryError):
    patience = 3600.0


def test_failure_that_may_last_is_not_logged_unless_somebody_flushes(make, caplog):
    failing = Failing(error=_ExpectedError("not yet"))
    pipeline = make(failing)

    pipeline.submit(plain_trace(1))
    deadline = time.monotonic() + 10
    while not pipeline.statistics().exporters["failing"].failures and time.monotonic() < deadline:
        time.sleep(0.01)
    before = [record.getMessage() for record in caplog.records]
    pipeline.force_flush()
    pipeline.force_flush()

    assert before == []
    (message,) = (record.getMessage() for record in caplog.records)
    assert "cannot write traces (_ExpectedError: not yet)" in message


def test_failure_that_may_last_and_ends_in_time_is_never_logged(make, caplog):
    failing = Failing(error=_ExpectedError("not yet"))
    pipeline = make(failing)

    pipeline.submit(plain_trace(1))
    deadline = time.monotonic() + 10
    while not pipeline.statistics().exporters["failing"].failures and time.monotonic() < deadline:
        time.sleep(0.01)
    failing.error = None
    pipeline.force_flush()

    assert failing.traces == [plain_trace(1)]
    assert caplog.records == []


def test_failing_exporter_recovers_without_a_flush(make):
    failing = Failing(error=TemporaryError("gone"))
    pipeline = make(failing)
    pipeline.submit(plain_trace(1))
    pipeline.force_flush()

    failing.error = None
    deadline = time.monotonic() + 60
    while not failing.traces and time.monotonic() < deadline:
        pipeline.wake()
        time.sleep(0.01)

    assert failing.traces == [plain_trace(1)]


def test_failing_exporter_keeps_a_bounded_number_and_counts_the_rest(make):
    failing = Failing(error=TemporaryError("gone"))
    pipeline = make(failing, queue_limit=9)

    for number in range(10):
        pipeline.submit(plain_trace(number))
        pipeline.force_flush()
    statistics = pipeline.statistics().exporters["failing"]

    assert statistics.waiting == 3
    assert statistics.dropped == 7


def test_failing_exporter_drops_what_waited_too_long(make):
    failing = Failing(error=TemporaryError("gone"))
    pipeline = make(failing, retry_seconds=0)

    pipeline.submit(plain_trace(1))
    pipeline.force_flush()
    pipeline.submit(plain_trace(2))
    pipeline.force_flush()

    assert pipeline.statistics().exporters["failing"].dropped >= 1


def test_trace_that_an_exporter_cannot_take_is_found_and_dropped(make, caplog):
    failing = Failing(poison=f"{5:032x}")
    gate = Gate()
    pipeline = make(gate, failing)
    pipeline.submit(plain_trace(100))
    assert gate.reached.wait(60)
    for number in range(9):
        pipeline.submit(plain_trace(number))
    gate.opened.set()

    assert [pipeline.force_flush(), pipeline.force_flush()] == [False, True]
    assert [int(trace.trace_id, 16) for trace in failing.traces] == [100, 0, 1, 2, 3, 4, 6, 7, 8]
    assert pipeline.statistics().exporters["failing"].dropped == 1
    assert [r.levelno for r in caplog.records if r.name == "tracing"] == [logging.ERROR]


def test_synchronous_pipeline_exports_before_it_returns(make):
    before = workers()
    memory = MemoryExporter()
    pipeline = make(memory, synchronous=True)

    pipeline.submit(plain_trace(1))

    assert list(memory.traces) == [plain_trace(1)]
    assert workers() == before


def test_synchronous_pipeline_swallows_a_failing_exporter(make):
    pipeline = make(Failing(error=RuntimeError("test")), synchronous=True)

    pipeline.submit(plain_trace(1))

    assert pipeline.statistics().exporters["failing"].dropped == 1


def test_shut_pipeline_drops_and_counts(make):
    before = workers()
    memory = MemoryExporter()
    pipeline = make(memory)
    pipeline.submit(plain_trace(1))

    assert pipeline.shutdown()
    pipeline.submit(plain_trace(2))

    assert list(memory.traces) == [plain_trace(1)]
    assert pipeline.statistics().dropped == 1
    assert workers() == before


def test_configured_pipeline_uses_the_new_exporters_and_shuts_the_old(make):
    shut = []

    class Old(MemoryExporter):
        def shutdown(self):
            shut.append(self)

    old, new = Old(), MemoryExporter()
    pipeline = make(old)
    pipeline.submit(plain_trace(1))

    pipeline.configure([new])
    pipeline.submit(plain_trace(2))
    pipeline.force_flush()

    assert (list(old.traces), list(new.traces)) == ([plain_trace(1)], [plain_trace(2)])
    assert shut == [old]


def test_exporter_that_was_added_can_be_removed(make):
    memory = MemoryExporter()
    pipeline = make()
    remove = pipeline.add_exporter(memory)
    pipeline.submit(plain_trace(1))
    pipeline.force_flush()

    remove()
    pipeline.submit(plain_trace(2))
    pipeline.force_flush()

    assert list(memory.traces) == [plain_trace(1)]


def test_many_threads_lose_nothing(make):
    memory = MemoryExporter(None)
    pipeline = make(memory)

    def work(first):
        for number in range(first, first + 200):
            pipeline.submit(plain_trace(number))

    threads = [threading.Thread(target=work, args=(1_000 * n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert pipeline.force_flush()
    assert len({trace.trace_id for trace in memory.traces}) == len(memory.traces) == 1_600
    assert pipeline.statistics().queued_items == 0


def test_tick_reaches_exporters_that_have_one(make):
    ticks = []

    class Ticking(MemoryExporter):
        def tick(self, statistics):
            ticks.append(statistics.recorded)

    pipeline = make(Ticking())
    pipeline.submit(plain_trace(1))
    pipeline.force_flush()

    # Once more after five seconds.
    assert set(ticks) == {1}


def test_end_of_the_process_ticks_once_more(make):
    waiting = []

    class Ticking(MemoryExporter):
        def tick(self, statistics):
            waiting.append((statistics.recorded, statistics.queued))

    pipeline = make(Ticking())
    pipeline.submit(plain_trace(1))
    pipeline.force_flush()
    pipeline.submit(plain_trace(2))
    pipeline._at_exit()

    assert waiting[-1] == (2, 0)


def test_what_an_ending_process_loses_is_told_once(caplog):
    pipeline = Pipeline(PipelineOptions(exit_seconds=0))
    pipeline.add_exporter(Failing(error=TemporaryError("no table")))
    pipeline.submit(plain_trace(1))
    pipeline.force_flush()
    # As atexit and the finalizers of multiprocessing and billiard do.
    for _ in range(3):
        pipeline.warn_of_losses()
    pipeline.shutdown()

    told = [text for text in caplog.messages if text.startswith("The process ends before")]
    assert told == ["The process ends before the failing exporter could write 1 trace; it is lost."]
