"""The worker's side of a pipeline: batches, assembly, delivery."""

from __future__ import annotations

import sys
import threading
from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final
from weakref import WeakSet

from tracing.clocks import time
from tracing.conf.parts import PipelineOptions
from tracing.instrumentation import context, failures
from tracing.instrumentation.in_tests import is_test_run
from tracing.instrumentation.process import before_fork
from tracing.instrumentation.recent import forgotten
from tracing.pipeline.delivery import Delivery, guard, logger, processed
from tracing.pipeline.exporter import Drain, Exporter, PipelineStatistics, Processor
from tracing.pipeline.pacing import Pace, set_pace, yield_interpreter
from tracing.spans import records
from tracing.units import plural

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

NEVER = sys.maxsize
LOG_SECONDS = 30.0
"""Drops are logged at most this often."""


def _they(count: int) -> str:
    return "it is" if count == 1 else "they are"


worker_thread = threading.local()


def is_worker_thread() -> bool:
    """Return whether the running thread is exporting, unrecorded."""
    return getattr(worker_thread, "exporting", False)


BATCH_ITEMS: Final = 4_000
"""Recorded items that make a batch full before its time.

Of spans that live together some survive each collection of young objects, and once those are a quarter of
the process's objects Python looks at all of them, while all threads wait.
"""


class Flush:
    """Somebody waiting for the queue to be empty."""

    __slots__ = ("done", "succeeded")

    def __init__(self) -> None:
        self.done = threading.Lock()
        self.done.acquire()
        self.succeeded = False

    def finish(self, *, succeeded: bool) -> None:
        """Let them go on."""
        self.succeeded = succeeded
        with suppress(RuntimeError):
            self.done.release()


pipelines: WeakSet[Any] = WeakSet()
"""All that there are, to begin anew after ``fork()``."""


class WorkerSide:
    """The worker's side of a pipeline."""

    def __init__(self, options: PipelineOptions | None = None) -> None:
        self.options = options or PipelineOptions()
        self._exporters: list[Exporter] = []
        self._make_exporters: Callable[[], Iterable[Exporter]] | None = None
        self.processors: list[Processor] = []
        self._for_exporters: list[Processor] = []
        """Those that only prepare a trace for the exporters."""
        self.drains: list[Drain] = []
        self._deliveries: list[Delivery] = []
        self._recorded = self._discarded = self._failed = 0
        self._logged_at = -LOG_SECONDS
        self._logged_drops = 0
        self._exit_registered_in = 0
        self._closed = False
        self._reset()
        pipelines.add(self)

    def _reset(self) -> None:
        """Begin anew in a new process: what is queued belongs to the parent."""
        self._queue: deque[tuple[Any, int]] = deque()
        # Counted separately by the two sides, so that neither waits for the other.
        self._added = self._taken = 0
        self._dropped = self._lost_before = 0
        # Reentrant: a receiver called by the garbage collector may submit in the middle of submit().
        self._lock = threading.RLock()
        # Only one thread may export at a time: the worker, or whoever works in its place.
        self._exporting = threading.RLock()
        self._pace = Pace(lambda: bool(self._flushes) or self._stopping)
        self._due_at = 0.0
        # A bare lock is the one way to wake a thread that a signal handler may use as well.
        self._wake_lock = threading.Lock()
        self._wake_lock.acquire()
        self._wake_at = 0
        self._flushes: deque[Flush] = deque()
        self._worker: threading.Thread | None = None
        self._stopping = False
        self._is_forking = False
        """The worker ends for a moment, and leaves its work to the next."""
        self._is_stuck = False
        """It did not end in time for a fork; the next one does not wait for it."""
        self._is_ending = False
        """What comes after the end is worked on where it was recorded."""
        self._tick_at = 0.0
        self._told: set[str] = set()

    def statistics(self) -> PipelineStatistics:
        """Return the counts so far."""
        return PipelineStatistics(
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

    @property
    def exporters(self) -> list[Exporter]:
        """Return the exporters; make those that waited for the first trace."""
        self._open()
        return self._exporters

    def _open(self) -> None:
        """Import the worker's needs, and make the waiting exporters. Idempotent."""
        if self._make_exporters is not None:
            with self._exporting, before_fork:
                self._make()

    def _make(self) -> None:
        make, self._make_exporters = self._make_exporters, None
        if make is not None:
            for exporter in guard("exporters", make) or ():
                self._add(exporter)

    def _add(self, exporter: Exporter) -> Delivery:
        delivery = Delivery(exporter)
        self._exporters = [*self._exporters, exporter]
        self._deliveries = [*self._deliveries, delivery]
        return delivery

    @staticmethod
    def assemble(trace: Any) -> records.Trace:
        """Return the spans of an active trace; in the worker."""
        # What assembles is worth importing only where something was recorded: here, beforehand.
        from tracing.instrumentation.assembly.assembler import assemble_ended  # noqa: PLC0415

        return assemble_ended(trace)

    @staticmethod
    def discard(trace: Any) -> None:
        """Let go of an active trace unread; in the worker."""
        from tracing.instrumentation.assembly.unread import discard  # noqa: PLC0415

        discard(trace)

    def wake(self) -> None:
        """Have the worker look at the queue now."""
        try:
            self._wake_lock.release()
        except RuntimeError as error:  # It is awake already.
            if not failures.is_own(error):
                raise

    def warn_of_losses(self) -> None:
        """Log what the process takes with it: nobody else can tell any more.

        A process may have several ends (``atexit`` and the finalizers of multiprocessing and of
        billiard); the same is told at the first of them only.
        """
        if self._closed:
            return
        queued = len(self._queue)
        if queued:
            lost = plural(queued, "trace")
            self._tell(f"The process ends before {lost} could be written; {_they(queued)} lost.")
        for delivery in self._deliveries:
            waiting = delivery.statistics().waiting
            if waiting:
                fate = (
                    "in the log alone, which manage.py tracing import reads"
                    if self._is_in_log(delivery)
                    else "lost"
                )
                self._tell(
                    f"The process ends before the {delivery.exporter.name} exporter could write "
                    f"{plural(waiting, 'trace')}; {_they(waiting)} {fate}."
                )

    def _tell(self, message: str) -> None:
        if message not in self._told:
            self._told.add(message)
            logger.warning("%s", message)

    def _is_in_log(self, delivery: Delivery) -> bool:
        """Return whether the log exporter has written what the database lacks."""
        return delivery.exporter.name == "database" and any(
            other.exporter.name == "log" and not other.waiting and not other.dropped
            for other in self._deliveries
        )

    def _run(self) -> None:
        worker_thread.exporting = True
        set_pace(self._pace)
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
        with self._lock:
            if self._worker is threading.current_thread():
                self._worker = None
        if not self._is_forking:
            for flush in self._flushes:
                flush.finish(succeeded=False)

    def _round(self) -> None:
        """Wait for work, gather a batch, export it."""
        options = self.options
        if not self._queue and not self._flushes:
            self._wake_at = 0
            if not self._queue and not self._flushes:
                self._wake_lock.acquire(timeout=self._patience())
            self._due_at = time.monotonic() + options.batch_seconds
        # Now: what is handed over at the end of the tests must not look like the project's.
        is_test_run()
        if self._queue and not self._flushes and not self._stopping:
            # Let a batch gather, unless there is enough of it already.
            self._wake_at = BATCH_ITEMS
            if self._added - self._taken < BATCH_ITEMS:
                self._wake_lock.acquire(timeout=max(self._due_at - time.monotonic(), 0))
        self._wake_at = NEVER
        if self._is_forking:
            return
        self._due_at = time.monotonic() + options.batch_seconds
        flushes = [self._flushes.popleft() for _ in range(len(self._flushes))]
        with self._exporting, before_fork:
            weight = self._added - self._taken
            self._pace.begin(weight, options.batch_seconds)
            succeeded = self._work(forced=bool(flushes))
            self._pace.end(weight)
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
        worker_thread.exporting = True
        try:
            with self._exporting, before_fork:
                if items:
                    self._open()
                    self._offer(self._assemble(items))
                return self._work(forced=True)
        finally:
            worker_thread.exporting = before

    def _work(self, *, forced: bool) -> bool:
        """Empty the queue; return whether exporters took all, if *forced*."""
        if self._queue or context.running:
            self._open()
        for drain in self.drains:
            guard("drain", self._drain, drain)
        remaining = len(self._queue)
        while True:
            items: list[tuple[Any, int]] = []
            weight = 0
            while remaining > 0 and weight < BATCH_ITEMS:
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
            for exporter in self._exporters:
                guard(f"flush of exporter {exporter.name}", exporter.force_flush)
        return forced and self._took_all()

    def _took_all(self) -> bool:
        """Return whether nothing waits, or was lost since last asked."""
        lost = self._dropped + self._failed
        taken = [delivery.took_all() for delivery in self._deliveries]
        kept, self._lost_before = lost == self._lost_before, lost
        return kept and all(taken)

    def _drain(self, drain: Drain) -> None:
        for segment in drain():
            self._offer(self._process([segment]))
            self._deliver(forced=False)

    def _assemble(self, items: list[tuple[Any, int]]) -> list[records.Trace]:
        traces: list[records.Trace] = []
        read = self._how_to_read()
        for item, _ in items:
            try:
                found = item if isinstance(item, records.Trace) else read(item)
                if found is None:
                    self._recorded += 1
                else:
                    traces.append(found)
            except Exception as error:  # noqa: BLE001 - one bad trace must not stop the others.
                self._failed += 1
                failures.failed("assembly", error)
            yield_interpreter()
        return self._process(traces)

    def _how_to_read(self) -> Callable[[Any], Any]:
        """Return what makes of an ended trace what is exported: its spans, mostly.

        Where one exporter alone takes it and nobody looks at it before, that may be another thing;
        and nothing where nobody takes it.
        """
        if not self._deliveries and all(each in self._for_exporters for each in self.processors):
            return self.discard
        if not self.processors and len(self._deliveries) == 1:
            found: Callable[[Any], Any] = getattr(
                self._deliveries[0].exporter, "encode", self.assemble
            )
            return found
        return self.assemble

    def _process(self, traces: list[records.Trace]) -> list[records.Trace]:
        kept = []
        for trace in traces:
            yield_interpreter()
            self._recorded += 1
            if (found := processed(trace, self.processors)) is None:
                self._discarded += 1
            else:
                kept.append(found)
        return kept

    def _offer(self, traces: list[records.Trace]) -> None:
        if traces:
            for delivery in self._deliveries:
                delivery.offer(traces, self.options)

    def _deliver(self, *, forced: bool) -> None:
        for delivery in self._deliveries:
            delivery.run(forced=forced)

    def _tick(self) -> None:
        now = time.monotonic()
        if self._dropped > self._logged_drops and now - self._logged_at >= LOG_SECONDS:
            logger.warning(
                "%s dropped because more came than could be written (%d since the process began).",
                plural(self._dropped - self._logged_drops, "trace"),
                self._dropped,
            )
            self._logged_drops, self._logged_at = self._dropped, now
        if now >= self._tick_at:
            self._tick_at = now + 5.0
            statistics = self.statistics()
            for exporter in self._exporters:
                tick = getattr(exporter, "tick", None)
                if tick is not None:
                    guard(f"tick of exporter {exporter.name}", tick, statistics)

    def after_fork(self) -> None:
        """Begin anew in a child process."""
        self._reset()
        self._recorded = self._discarded = self._failed = 0
        self._logged_drops = 0
        self._deliveries = [Delivery(exporter) for exporter in self._exporters]
        for exporter in self._exporters:
            forked = getattr(exporter, "after_fork", None)
            if forked is not None:
                guard(f"fork with exporter {exporter.name}", forked)
