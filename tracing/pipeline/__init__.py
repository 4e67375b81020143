"""The way of a finished trace to its exporters: a bounded queue and one worker for each process.

The traced thread appends to the queue and wakes the worker only if that is idle. The worker has
the live traces assembled into spans, hands them to the processors (which may drop them) and then, in
batches, to each exporter. An exporter that fails keeps its batches for a while and tries again; the
others go on without it. Nothing here ever raises into the traced program.

The worker is a daemon thread that starts with the first trace, is forgotten after ``fork()`` (the
child's first trace starts another) and is given a moment at exit to write what is left.
"""

from __future__ import annotations

import atexit
import logging
import os
import pickle
import random
import signal
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol
from weakref import WeakSet

from tracing.instrumentation import context, failures
from tracing.instrumentation.assembly.assembler import assemble_ended
from tracing.instrumentation.assembly.repair import repaired
from tracing.instrumentation.attributes.redaction import redact_error
from tracing.instrumentation.in_tests import is_test_run
from tracing.instrumentation.recent import forgotten
from tracing.spans import records

if TYPE_CHECKING:
    from types import FrameType

logger = logging.getLogger("tracing")

Processor = Callable[[records.Trace], records.Trace | None]
"""Run in the worker between assembly and export; None drops the trace, on purpose."""

Drain = Callable[[], Iterable[records.Trace]]
"""Asked several times a second for segments of traces that are still running."""

_NEVER = sys.maxsize
_LOG_SECONDS = 30.0
"""Drops are logged at most this often."""


class TemporaryError(Exception):
    """An exporter cannot work now and should be asked again: no connection, no space, no table."""

    patience: ClassVar[float] = 0.0
    """Seconds for which this may last before it is worth a line in the log."""


class Exporter(Protocol):
    """What a finished trace is handed to.

    An exporter may also have ``tick(statistics)``, called every few seconds, and ``after_fork()``,
    called in a child process: what it holds open belongs to the parent.
    """

    @property
    def name(self) -> str:
        """Return its name in statistics and messages."""
        ...

    def export(self, batch: Sequence[records.Trace]) -> None:
        """Take all of *batch* or, if it raises, none of it.

        Raises:
            TemporaryError, OSError: Ask again later with the same batch. Any other exception is
                blamed on a trace in the batch, which is found and dropped.
        """

    def force_flush(self) -> None:
        """Write what it holds back."""

    def shutdown(self) -> None:
        """Write what it holds back and let go of files and connections."""


@dataclass(frozen=True, slots=True)
class Options:
    """How the pipeline works; the defaults suit a web process."""

    queue_limit: int = 100_000
    """Recorded items (dispatches and receiver calls, roughly) that may wait for the worker."""
    policy: Literal["drop", "block"] = "drop"
    """With a full queue: drop the oldest trace, or let the traced thread wait."""
    block_seconds: float = 0.5
    """How long the traced thread waits at most; then the oldest trace is dropped all the same."""
    batch_seconds: float = 0.2
    """How long the first trace of a batch waits for others."""
    batch_items: int = 8_000
    """Recorded items that make a batch full before its time."""
    retry_seconds: float = 60.0
    """How long a failing exporter keeps a batch."""
    retry_items: int = 100_000
    """How many items a failing exporter keeps; the oldest go first."""
    exit_seconds: float = 5.0
    """How long the exit of the process may wait for the exporters."""
    synchronous: bool = False
    """Export on the traced thread, before it goes on. For tests and short commands."""


@dataclass(slots=True)
class ExporterStatistics:
    """How one exporter is doing."""

    exported: int = 0
    """Traces (or segments) taken."""
    dropped: int = 0
    """Traces lost because it failed for too long or could not take them at all."""
    failures: int = 0
    """Attempts that failed, since the process began."""
    waiting: int = 0
    """Traces kept for the next attempt."""
    error: str = ""
    """What the last attempt failed with; empty after a success."""


@dataclass(slots=True)
class Statistics:
    """How the pipeline is doing, since the process began."""

    recorded: int = 0
    """Traces (or segments) taken out of the queue."""
    discarded: int = 0
    """Traces that a processor dropped on purpose."""
    dropped: int = 0
    """Traces lost because the queue was full."""
    failed: int = 0
    """Traces lost because they could not be assembled."""
    queued: int = 0
    """Traces waiting in the queue."""
    queued_items: int = 0
    running: int = 0
    """Traces that have begun and not ended."""
    exporters: dict[str, ExporterStatistics] = field(default_factory=dict)
    forgotten: dict[str, int] = field(default_factory=dict)
    """What bounded memories had no room for, by what it was."""


_thread = threading.local()

_pipelines: WeakSet[Pipeline] = WeakSet()
"""All that there are, to begin anew after ``fork()``."""


def is_worker_thread() -> bool:
    """Return whether the running thread is exporting: what it does must not be recorded."""
    return getattr(_thread, "exporting", False)


class Courtesy:
    """Lets other threads have the interpreter now and then during long work in pure Python.

    A thread that waits for it asks for it back only after 5 ms, which a request would feel.
    """

    __slots__ = ("_since",)

    _EVERY_NS = 1_000_000

    is_over = False
    """The process ends: its other threads, if any still run, have to make do with their share."""

    def __init__(self) -> None:
        self._since = time.perf_counter_ns()

    def give_way(self) -> None:
        """Let others go first if this thread has worked for a millisecond."""
        now = time.perf_counter_ns()
        if now - self._since > self._EVERY_NS and not Courtesy.is_over:
            time.sleep(0)
            self._since = time.perf_counter_ns()


class Pipeline:
    """A queue, a worker and exporters. A process has one, ``tracing.pipeline.default``."""

    assemble = staticmethod(assemble_ended)
    """Makes the spans of a live trace, in the worker."""

    def __init__(self, options: Options | None = None) -> None:
        self.options = options or Options()
        self.exporters: list[Exporter] = []
        self.processors: list[Processor] = []
        self.drains: list[Drain] = []
        self._deliveries: list[_Delivery] = []
        self._recorded = self._discarded = self._failed = 0
        self._logged_at = -_LOG_SECONDS
        self._logged_drops = 0
        self._exit_registered_in = 0
        self._closed = False
        self._reset()
        _pipelines.add(self)

    def _reset(self) -> None:
        """Begin with empty hands: in a new process, what is queued belongs to the parent."""
        self._queue: deque[tuple[Any, int]] = deque()
        # Counted separately by the two sides, so that neither waits for the other.
        self._added = self._taken = 0
        self._dropped = 0
        # Reentrant: a receiver called by the garbage collector may submit in the middle of submit().
        self._lock = threading.RLock()
        # Only one thread may export at a time: the worker, or whoever works in its place.
        self._exporting = threading.RLock()
        # A bare lock is the one way to wake a thread that a signal handler may use as well.
        self._wake_lock = threading.Lock()
        self._wake_lock.acquire()
        self._wake_at = 0
        self._flushes: deque[_Flush] = deque()
        self._worker: threading.Thread | None = None
        self._stopping = False
        self._tick_at = 0.0
        self._told: set[str] = set()

    # -- Setting up --------------------------------------------------------------------------

    def configure(
        self,
        exporters: Iterable[Exporter],
        *,
        options: Options | None = None,
        processors: Iterable[Processor] = (),
    ) -> None:
        """Use these exporters, options and processors from now on; the old exporters are shut."""
        self.force_flush(self.options.exit_seconds)
        old = list(self.exporters)
        self.options = options or self.options
        self.processors = list(processors)
        self.exporters = []
        self._deliveries = []
        self._closed = False
        for exporter in exporters:
            self.add_exporter(exporter)
        for exporter in old:
            if exporter not in self.exporters:
                _guard(f"shutdown of exporter {exporter.name}", exporter.shutdown)

    def add_exporter(self, exporter: Exporter) -> Callable[[], None]:
        """Hand traces to *exporter* as well; return what takes it out again."""
        delivery = _Delivery(exporter)
        self.exporters = [*self.exporters, exporter]
        self._deliveries = [*self._deliveries, delivery]

        def remove() -> None:
            self.exporters = [other for other in self.exporters if other is not exporter]
            self._deliveries = [other for other in self._deliveries if other is not delivery]

        return remove

    def add_processor(self, processor: Processor) -> Callable[[], None]:
        """Run *processor* on each assembled trace; return what takes it out again."""
        self.processors = [*self.processors, processor]

        def remove() -> None:
            self.processors = [other for other in self.processors if other is not processor]

        return remove

    def add_drain(self, drain: Drain) -> Callable[[], None]:
        """Ask *drain* for segments of running traces; return what takes it out again."""
        self.drains = [*self.drains, drain]

        def remove() -> None:
            self.drains = [other for other in self.drains if other is not drain]

        return remove

    # -- On the traced thread ----------------------------------------------------------------

    def on_start(self, _trace: Any) -> None:
        """Take note of a trace that has begun: nothing to do, the drains find it."""

    def on_end(self, trace: Any) -> None:
        """Take over a trace that has ended."""
        self.submit(trace)

    def submit(self, trace: Any) -> None:
        """Take over a finished trace: a ``records.Trace``, or what ``assemble`` makes one of.

        Never raises and, unless the policy is to block or the mode synchronous, never waits.
        """
        try:
            live = trace if isinstance(trace, context.LiveTrace) else None
            if live is not None and live.submitted:
                return  # Whoever ended it was interrupted, and ends it once more.
            if self._closed:
                with self._lock:
                    self._dropped += 1
                return
            if self.options.synchronous:
                if live is not None:
                    live.submitted = True
                self._work_here([(trace, _weight(trace))])
                return
            weight = _weight(trace)
            if self._added - self._taken + weight > self.options.queue_limit:
                self._make_room(weight)
            # Nothing is called between the two, so nobody can interrupt there.
            if live is not None:
                live.submitted = True
            self._queue.append((trace, weight))
            with self._lock:
                self._added += weight
            if self._worker is None:
                self._start()
            if self._added - self._taken >= self._wake_at:
                self._wake_at = _NEVER
                self.wake()
        except Exception as error:  # noqa: BLE001 - the traced program comes first.
            failures.failed("pipeline", error)

    def wake(self) -> None:
        """Have the worker look at the queue now."""
        try:
            self._wake_lock.release()
        except RuntimeError as error:  # It is awake already.
            if not failures.is_own(error):
                raise

    def _make_room(self, weight: int) -> None:
        limit = self.options.queue_limit
        if self.options.policy == "block" and not is_worker_thread():
            deadline = time.monotonic() + self.options.block_seconds
            while self._added - self._taken + weight > limit and time.monotonic() < deadline:
                self.wake()
                time.sleep(0.005)
        while self._queue and self._added - self._taken + weight > limit:
            try:
                _, lost = self._queue.popleft()
            except IndexError as error:
                if not failures.is_own(error):
                    raise
                return
            with self._lock:
                self._dropped += 1
                self._added -= lost

    # -- Flushing and ending -----------------------------------------------------------------

    def force_flush(self, timeout: float = 5.0) -> bool:
        """Have everything submitted so far exported; return whether that was done in time.

        Args:
            timeout: Seconds to wait at most. A failing exporter is asked once more and not awaited.
        """
        if is_worker_thread():
            return False
        worker = self._worker
        if worker is None or not worker.is_alive():
            if not self._queue and not any(delivery.waiting for delivery in self._deliveries):
                # Nobody is at work, and there is nothing to do.
                for exporter in self.exporters:
                    _guard(f"flush of exporter {exporter.name}", exporter.force_flush)
                return True
            return self._work_here([])
        flush = _Flush()
        self._flushes.append(flush)
        self.wake()
        if not flush.done.acquire(timeout=max(timeout, 0)):
            return False
        return flush.succeeded

    def shutdown(self, timeout: float | None = None) -> bool:
        """Export what is left and let the exporters go; return whether nothing was lost.

        Traces submitted afterwards are dropped, until ``configure`` begins anew.
        """
        flushed = self.force_flush(self.options.exit_seconds if timeout is None else timeout)
        self._closed = True
        worker = self._worker
        self._stopping = True
        self.wake()
        if worker is not None and worker is not threading.current_thread():
            worker.join(0.5 if flushed else 0.05)
        if worker is None or not worker.is_alive():
            # A worker that is stuck in an exporter still uses it.
            for exporter in self.exporters:
                _guard(f"shutdown of exporter {exporter.name}", exporter.shutdown)
            self._worker = None
            self._stopping = False
        return flushed

    def statistics(self) -> Statistics:
        """Return the counts so far."""
        return Statistics(
            recorded=self._recorded,
            discarded=self._discarded,
            dropped=self._dropped,
            failed=self._failed,
            queued=len(self._queue),
            queued_items=max(self._added - self._taken, 0),
            running=len(context.running),
            exporters={
                delivery.exporter.name: delivery.statistics() for delivery in self._deliveries
            },
            forgotten=dict(forgotten),
        )

    def is_its_worker(self) -> bool:
        """Return whether the running thread is its worker, not one that works in its place."""
        return self._worker is threading.current_thread()

    # -- The worker --------------------------------------------------------------------------

    def _start(self) -> None:
        with self._lock:
            if self._worker is not None or self._closed:
                return
            worker = threading.Thread(target=self._run, name="tracing-worker", daemon=True)
            self.flush_at_exit()
            # A short run of tests may be over before the worker looks.
            is_test_run()
            self._worker = worker
            try:
                worker.start()
            except BaseException as error:
                # Should it run all the same, it sees that it is not the worker and ends.
                self._worker = None
                if type(error) is not RuntimeError or not failures.is_own(error):
                    raise
                # The interpreter is ending and starts no more threads.
                self._work_here([])

    def flush_at_exit(self) -> None:
        """Flush when this process exits. Idempotent; the first trace sees to it at the latest."""
        if self._exit_registered_in == os.getpid():
            return
        if not self._exit_registered_in:
            atexit.register(self._at_exit)
        self._exit_registered_in = os.getpid()
        # A child that one of these started leaves by os._exit(), past atexit.
        for name in ("multiprocessing.util", "billiard.util"):
            module = sys.modules.get(name)
            if module is not None:
                module.Finalize(None, self._at_exit, exitpriority=10)

    def _at_exit(self) -> None:
        Courtesy.is_over = True
        # The store is to hear that nothing waits any more, not what waited seconds ago.
        self._tick_at = 0.0
        _guard("exit", self.force_flush, self.options.exit_seconds)
        _guard("exit", self.tell_what_is_lost)
        for exporter in self.exporters:
            # The worker may live on for a moment: only flush, the process ends anyway.
            _guard(f"flush of exporter {exporter.name}", exporter.force_flush)

    def tell_what_is_lost(self) -> None:
        """Log what the process takes with it: nobody else can tell any more.

        A process may have several ends (``atexit`` and the finalizers of multiprocessing and of
        billiard); the same is told at the first of them only.
        """
        if self._closed:
            return
        queued = len(self._queue)
        if queued:
            self._tell(f"The process ends before {queued} traces could be written; they are lost.")
        for delivery in self._deliveries:
            waiting = delivery.statistics().waiting
            if waiting:
                fate = (
                    "they are in the log alone, which manage.py tracing import reads"
                    if self._is_in_log(delivery)
                    else "they are lost"
                )
                self._tell(
                    f"The process ends before the {delivery.exporter.name} exporter could write "
                    f"{waiting} traces; {fate}."
                )

    def _tell(self, message: str) -> None:
        if message not in self._told:
            self._told.add(message)
            logger.warning("%s", message)

    def _is_in_log(self, delivery: _Delivery) -> bool:
        """Return whether what the database has not got yet has been written by the log exporter."""
        return delivery.exporter.name == "database" and any(
            other.exporter.name == "log" and not other.waiting and not other.dropped
            for other in self._deliveries
        )

    def _run(self) -> None:
        _thread.exporting = True
        failures.thread.is_traced = False
        with self._lock:
            if self._worker is not threading.current_thread():
                return
        while not self._stopping:
            try:
                self._round()
            except Exception as error:  # noqa: BLE001 - the worker must go on.
                failures.failed("the worker", error)
                time.sleep(0.1)
        for flush in self._flushes:
            flush.finish(succeeded=False)

    def _round(self) -> None:
        """Wait for work, gather a batch, export it."""
        options = self.options
        if not self._queue and not self._flushes:
            self._wake_at = 0
            if not self._queue and not self._flushes:
                self._wake_lock.acquire(timeout=self._patience())
        # Now: what is handed over at the end of the tests must not look like the project's.
        is_test_run()
        if self._queue and not self._flushes and not self._stopping:
            # Let a batch gather, unless there is enough of it already.
            self._wake_at = options.batch_items
            if self._added - self._taken < options.batch_items:
                self._wake_lock.acquire(timeout=options.batch_seconds)
        self._wake_at = _NEVER
        flushes = [self._flushes.popleft() for _ in range(len(self._flushes))]
        with self._exporting:
            succeeded = self._work(forced=bool(flushes))
        for flush in flushes:
            flush.finish(succeeded=succeeded)

    def _patience(self) -> float:
        """Return how long the worker may sleep with an empty queue, in seconds."""
        if context.running or any(delivery.waiting for delivery in self._deliveries):
            return 0.2
        return 1.0

    def _work_here(self, items: list[tuple[Any, int]]) -> bool:
        """Do the worker's work on this thread, for *items* and all that is queued."""
        before = is_worker_thread()
        _thread.exporting = True
        try:
            with self._exporting:
                if items:
                    self._offer(self._assemble(items))
                return self._work(forced=True)
        finally:
            _thread.exporting = before

    def _work(self, *, forced: bool) -> bool:
        """Empty the queue into the exporters; return whether none of them holds anything back."""
        limit = self.options.batch_items
        for drain in self.drains:
            _guard("drain", self._drain, drain)
        remaining = len(self._queue)
        while True:
            items: list[tuple[Any, int]] = []
            weight = 0
            while remaining > 0 and weight < limit:
                try:
                    item = self._queue.popleft()
                except IndexError:
                    remaining = 0
                    break
                items.append(item)
                weight += item[1]
                remaining -= 1
            if items:
                self._offer(self._assemble(items))
                # Only now: what was taken is still in memory and still counts as waiting.
                self._taken += weight
            self._deliver(forced=forced and not remaining)
            if remaining <= 0:
                break
        self._tick()
        if forced:
            for exporter in self.exporters:
                _guard(f"flush of exporter {exporter.name}", exporter.force_flush)
        return not any(delivery.waiting for delivery in self._deliveries)

    def _drain(self, drain: Drain) -> None:
        for segment in drain():
            self._offer(self._process([segment]))
            self._deliver(forced=False)

    def _assemble(self, items: list[tuple[Any, int]]) -> list[records.Trace]:
        traces: list[records.Trace] = []
        courtesy = Courtesy()
        for item, _ in items:
            try:
                traces.append(item if isinstance(item, records.Trace) else self.assemble(item))
            except Exception as error:  # noqa: BLE001 - one bad trace must not stop the others.
                self._failed += 1
                failures.failed("assembly", error)
            courtesy.give_way()
        return self._process(traces)

    def _process(self, traces: list[records.Trace]) -> list[records.Trace]:
        processed: list[records.Trace] = []
        for trace in traces:
            self._recorded += 1
            kept: records.Trace | None = trace
            for processor in self.processors:
                try:
                    kept = processor(trace)
                except Exception as error:  # noqa: BLE001 - the trace is worth more than a verdict.
                    failures.failed("a processor", error)
                if kept is None:
                    self._discarded += 1
                    break
                trace = kept  # noqa: PLW2901 - each processor gets what the one before it made.
            if kept is not None:
                processed.append(kept)
        return processed

    def _offer(self, traces: list[records.Trace]) -> None:
        if traces:
            for delivery in self._deliveries:
                delivery.offer(traces, self.options)

    def _deliver(self, *, forced: bool) -> None:
        for delivery in self._deliveries:
            delivery.run(forced=forced)

    def _tick(self) -> None:
        now = time.monotonic()
        if self._dropped > self._logged_drops and now - self._logged_at >= _LOG_SECONDS:
            logger.warning(
                "%d traces were dropped because more came than could be written "
                "(%d since the process began).",
                self._dropped - self._logged_drops,
                self._dropped,
            )
            self._logged_drops, self._logged_at = self._dropped, now
        if now >= self._tick_at:
            self._tick_at = now + 5.0
            statistics = self.statistics()
            for exporter in self.exporters:
                tick = getattr(exporter, "tick", None)
                if tick is not None:
                    _guard(f"tick of exporter {exporter.name}", tick, statistics)

    # -- Other processes ---------------------------------------------------------------------

    def after_fork(self) -> None:
        """Begin anew in a child process."""
        self._reset()
        self._recorded = self._discarded = self._failed = 0
        self._logged_drops = 0
        self._deliveries = [_Delivery(exporter) for exporter in self.exporters]
        for exporter in self.exporters:
            forked = getattr(exporter, "after_fork", None)
            if forked is not None:
                _guard(f"fork with exporter {exporter.name}", forked)


class _Flush:
    """Somebody waiting for the queue to be empty."""

    __slots__ = ("done", "succeeded")

    def __init__(self) -> None:
        self.done = threading.Lock()
        self.done.acquire()
        self.succeeded = False

    def finish(self, *, succeeded: bool) -> None:
        self.succeeded = succeeded
        with suppress(RuntimeError):
            self.done.release()


class _Parcel:
    """Traces that an exporter has not taken yet."""

    __slots__ = ("_packed", "_traces", "count", "deadline", "weight")

    def __init__(self, traces: list[records.Trace], deadline: float) -> None:
        self._traces: list[records.Trace] | None = traces
        self._packed = b""
        self.count = len(traces)
        self.deadline = deadline
        self.weight = sum(map(_weight, traces))

    def open(self) -> list[records.Trace]:
        """Return the traces."""
        if self._traces is not None:
            return self._traces
        # Our own bytes, which never left this process.
        traces: list[records.Trace] = pickle.loads(self._packed)  # noqa: S301
        return traces

    def pack(self) -> None:
        """Turn the traces into bytes: they take less room, and the garbage collector skips them.

        A hundred thousand waiting spans would be looked at by each full collection, on whatever
        thread it happens: that is a pause of 50 ms and more for the application.
        """
        if self._traces is None:
            return
        # Dispatches nested hundreds deep are more than pickle can follow: those stay as they are.
        with suppress(RecursionError, pickle.PicklingError, AttributeError, TypeError):
            self._packed = pickle.dumps(self._traces, pickle.HIGHEST_PROTOCOL)
            self._traces = None


class _Delivery:
    """One exporter, with what it has not taken yet."""

    def __init__(self, exporter: Exporter) -> None:
        self.exporter = exporter
        self.waiting: deque[_Parcel] = deque()
        self.items = 0
        self.exported = self.dropped = self.failures = self.streak = 0
        self.error = ""
        self.retry_at = 0.0
        self._failing_since = 0.0
        self._announced = False
        self._blamed: set[str] = set()

    def offer(self, traces: list[records.Trace], options: Options) -> None:
        """Queue *traces* behind what it has not taken yet, dropping the oldest if that is much."""
        parcel = _Parcel(traces, time.monotonic() + options.retry_seconds)
        self.waiting.append(parcel)
        self.items += parcel.weight
        if self.streak:
            parcel.pack()
            while self.items > options.retry_items and len(self.waiting) > 1:
                self._drop()

    def run(self, *, forced: bool) -> None:
        """Hand over what is waiting, unless the exporter is to be left alone for now."""
        if not self.waiting:
            return
        now = time.monotonic()
        if now < self.retry_at and not forced:
            self._drop_late(now)
            return
        while self.waiting:
            parcel = self.waiting[0]
            traces = parcel.open()
            try:
                self.exporter.export(traces)
            except (TemporaryError, OSError) as error:
                self._postpone(error, forced=forced)
                self._drop_late(now)
                return
            except Exception as error:  # noqa: BLE001 - whatever it is, the others go on.
                self._blame(error, traces)
            else:
                self.waiting.popleft()
                self.items -= parcel.weight
                self.exported += parcel.count
                self._recovered()

    def statistics(self) -> ExporterStatistics:
        """Return the counts so far."""
        return ExporterStatistics(
            exported=self.exported,
            dropped=self.dropped,
            failures=self.failures,
            waiting=sum(parcel.count for parcel in tuple(self.waiting)),
            error=self.error,
        )

    def _postpone(self, error: Exception, *, forced: bool) -> None:
        now = time.monotonic()
        if not self.streak:
            self._failing_since = now
        self.failures += 1
        self.streak += 1
        self.error = _one_line(error)
        for parcel in self.waiting:
            parcel.pack()
        # Exponential with full jitter over its upper half, so that processes do not ask in step.
        delay = min(0.25 * 2 ** min(self.streak, 5), 5.0)
        self.retry_at = now + delay * random.uniform(0.5, 1.0)  # noqa: S311
        patience = error.patience if isinstance(error, TemporaryError) else 0.0
        # Who flushes, or ends, wants to know now.
        if not self._announced and (forced or now - self._failing_since >= patience):
            self._announced = True
            logger.warning(
                "The %s exporter cannot write traces (%s). It is tried again; "
                "the application is not affected.",
                self.exporter.name,
                self.error,
            )

    def _recovered(self) -> None:
        if self._announced:
            logger.warning(
                "The %s exporter writes traces again after %d failed attempts; %d traces were lost.",
                self.exporter.name,
                self.streak,
                self.dropped,
            )
        self._announced = False
        self.streak = 0
        self.retry_at = 0.0
        self.error = ""

    def _blame(self, error: Exception, traces: list[records.Trace]) -> None:
        """Find the trace that cannot be exported by halving the batch."""
        parcel = self.waiting.popleft()
        self.items -= parcel.weight
        if len(traces) > 1:
            middle = len(traces) // 2
            for half in (traces[middle:], traces[:middle]):
                part = _Parcel(half, parcel.deadline)
                self.waiting.appendleft(part)
                self.items += part.weight
            return
        try:
            self.exporter.export([repaired(traces[0], type(error).__name__)])
        except Exception:  # noqa: BLE001 - what it could not take is told below.
            self.dropped += 1
        else:
            self.exported += 1
            self._recovered()
            return
        self.failures += 1
        self.error = _one_line(error)
        if type(error).__name__ not in self._blamed and len(self._blamed) < 20:  # noqa: PLR2004
            self._blamed.add(type(error).__name__)
            logger.error(
                "The %s exporter could not take trace %s and dropped it.",
                self.exporter.name,
                traces[0].trace_id,
                exc_info=error,
            )

    def _drop_late(self, now: float) -> None:
        while self.waiting and self.waiting[0].deadline < now:
            self._drop()

    def _drop(self) -> None:
        parcel = self.waiting.popleft()
        self.items -= parcel.weight
        self.dropped += parcel.count


def _one_line(error: Exception) -> str:
    """Return *error* for a log line: drivers explain themselves over several."""
    return redact_error(" ".join(f"{type(error).__name__}: {error}".split())[:500])


def _weight(trace: Any) -> int:
    """Return roughly how many recorded items *trace* holds; at least 1."""
    streams = getattr(trace, "streams", None)
    if streams is not None:
        values = sum(len(stream.recorded or ()) for stream in streams)
        return 1 + values // context.VALUES_PER_DISPATCH
    dispatches = getattr(trace, "dispatches", None)
    if dispatches is None:
        return 1
    return 1 + sum(1 + len(dispatch.receiver_calls) for dispatch in dispatches)


def _guard(place: str, function: Callable[..., Any], *args: Any) -> Any:
    """Return what *function* returns; None if it raises, which is counted and logged once."""
    try:
        return function(*args)
    except Exception as error:  # noqa: BLE001 - the traced program comes first.
        failures.failed(place, error)
        return None


# -- SIGTERM ---------------------------------------------------------------------------------


def flush_on_sigterm(pipeline: Pipeline) -> Callable[[], None]:
    """Have SIGTERM flush *pipeline* before it does what it did; return what undoes that.

    A process that nobody taught to handle the signal still dies of it, with the same exit status.
    Where a handler was installed, that one decides; it only gets a flushed pipeline.  Nothing is
    installed outside the main thread, where Python allows no handlers, and where the signal is
    ignored or was taken by code that is not Python.
    """

    def undo() -> None:
        if signal.getsignal(signal.SIGTERM) is handle:
            signal.signal(signal.SIGTERM, previous)

    def handle(number: int, frame: FrameType | None) -> None:
        if callable(previous):
            # Usually a server's, which ends in peace and flushes at exit: do not hold it up.
            _guard("SIGTERM", pipeline.force_flush, min(1.0, pipeline.options.exit_seconds))
            previous(number, frame)
            return
        _guard("SIGTERM", pipeline.force_flush, pipeline.options.exit_seconds)
        # Nothing that runs at exit gets to say it.
        _guard("SIGTERM", pipeline.tell_what_is_lost)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGTERM)

    if threading.current_thread() is not threading.main_thread():
        return lambda: None
    previous = signal.getsignal(signal.SIGTERM)
    if previous is None or previous is signal.SIG_IGN:
        return lambda: None
    signal.signal(signal.SIGTERM, handle)
    return undo


# -- The one of this process -----------------------------------------------------------------


def _after_fork_in_child() -> None:
    _thread.exporting = False
    for pipeline in tuple(_pipelines):
        _guard("fork", pipeline.after_fork)


os.register_at_fork(after_in_child=_after_fork_in_child)

default = Pipeline()
"""The pipeline of this process."""

configure = default.configure
add_exporter = default.add_exporter
add_processor = default.add_processor
add_drain = default.add_drain
submit = default.submit
force_flush = default.force_flush
shutdown = default.shutdown
statistics = default.statistics
