"""The traced side of a pipeline: the queue, its flushing and its end."""

from __future__ import annotations

import atexit
import os
import sys
import threading
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tracing.clocks import time
from tracing.instrumentation import buffer as recording_buffer
from tracing.instrumentation import failures
from tracing.instrumentation.in_tests import is_test_run
from tracing.pipeline.delivery import guard, weight_of
from tracing.pipeline.worker import NEVER, Flush, WorkerSide, is_worker_thread

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from tracing.conf.parts import PipelineOptions
    from tracing.pipeline.exporter import Drain, Exporter, Processor

_PATIENCE = 0.25
"""Seconds that a fork waits for the end of a worker."""


class Pipeline(WorkerSide):
    """A queue, a worker and exporters; ``pipeline.default`` is the process's."""

    # -- Setting up --------------------------------------------------------------------------

    def configure(
        self,
        exporters: Iterable[Exporter] | Callable[[], Iterable[Exporter]],
        *,
        options: PipelineOptions | None = None,
        processors: Iterable[Processor] = (),
    ) -> None:
        """Use these exporters, options and processors; shut the old exporters.

        Args:
            exporters: Where traces go; or what makes that, asked by the worker when there is a trace.
            options: How it works; as before by default.
            processors: Run on each assembled trace, before the exporters; if there are none, not at all.
        """
        self.force_flush(self.options.exit_seconds)
        old = self._exporters
        self.options = options or self.options
        self.processors = list(processors)
        self._for_exporters = list(processors)
        self._exporters = []
        self._deliveries = []
        self._closed = False
        self._make_exporters = exporters if callable(exporters) else None
        if not callable(exporters):
            for exporter in exporters:
                self._add(exporter)
        for exporter in old:
            if exporter not in self._exporters:
                guard(f"shutdown of exporter {exporter.name}", exporter.shutdown)

    def add_exporter(self, exporter: Exporter) -> Callable[[], None]:
        """Hand traces to *exporter* as well; return what takes it out again."""
        delivery = self._add(exporter)

        def remove() -> None:
            self._exporters = [other for other in self._exporters if other is not exporter]
            self._deliveries = [other for other in self._deliveries if other is not delivery]

        return remove

    def add_processor(self, processor: Processor) -> Callable[[], None]:
        """Run *processor* on each assembled trace; return what takes it out again."""
        self.processors = [*self.processors, processor]

        def remove() -> None:
            self.processors = [other for other in self.processors if other is not processor]

        return remove

    def add_drain(self, drain: Drain) -> Callable[[], None]:
        """Ask *drain* for segments of running traces; return what undoes that."""
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
        """Take over a finished trace, or what ``assemble`` makes one of.

        Never raises and, unless it is synchronous, never waits.
        """
        try:
            active = trace if isinstance(trace, recording_buffer.ActiveTrace) else None
            if active is not None and active.submitted:
                return  # Whoever ended it was interrupted, and ends it once more.
            if self._closed:
                with self._lock:
                    self._dropped += 1
                return
            if self.options.synchronous:
                if active is not None:
                    active.submitted = True
                self._work_here([(trace, weight_of(trace))])
                return
            weight = weight_of(trace)
            if self._added - self._taken + weight > self.options.queue_limit:
                self._make_room(weight)
            # Nothing is called between the two, so nobody can interrupt there.
            if active is not None:
                active.submitted = True
            self._queue.append((trace, weight))
            with self._lock:
                self._added += weight
            if self._worker is None:
                self._start()
            if self._added - self._taken >= self._wake_at:
                self._wake_at = NEVER
                self.wake()
        except Exception as error:  # noqa: BLE001 - the traced program comes first.
            failures.failed("pipeline", error)

    def _make_room(self, weight: int) -> None:
        limit = self.options.queue_limit
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
        """Export all that was submitted so far; return whether in time.

        Args:
            timeout: Seconds to wait at most. A failing exporter is asked once more and not awaited.
        """
        if is_worker_thread():
            return False
        worker = self._worker
        if worker is None or not worker.is_alive():
            if not self._queue and not any(delivery.waiting for delivery in self._deliveries):
                # Nobody is at work, and there is nothing to do.
                for exporter in self._exporters:
                    guard(f"flush of exporter {exporter.name}", exporter.force_flush)
                return self._took_all()
            return self._work_here([])
        flush = Flush()
        self._flushes.append(flush)
        self.wake()
        if not flush.done.acquire(timeout=max(timeout, 0)):
            return False
        return flush.succeeded

    def shutdown(self, timeout: float | None = None) -> bool:
        """Export what is left, shut exporters; return whether all was kept.

        Traces submitted afterwards are dropped, until ``configure`` begins anew.
        """
        flushed = self.force_flush(self.options.exit_seconds if timeout is None else timeout)
        self._closed = True
        if self._stop(0.5 if flushed else 0.05):
            # A worker that is stuck in an exporter still uses it.
            for exporter in self._exporters:
                guard(f"shutdown of exporter {exporter.name}", exporter.shutdown)
        return flushed

    def _stop(self, seconds: float) -> bool:
        """End the worker; return whether none is left after so many seconds."""
        worker = self._worker
        self._stopping = True
        self.wake()
        if worker is not None and worker is not threading.current_thread():
            worker.join(seconds)
        if worker is not None and worker.is_alive():
            return False
        self._worker = None
        self._stopping = False
        return True

    def stop_for_fork(self) -> None:
        """End the worker if it soon can: Python warns of forks beside it."""
        worker = self._worker
        # Gevent's is no thread of its own; in the worker's the two are the same, too.
        if worker is None or worker.native_id in {None, threading.get_native_id()}:
            return
        self._is_forking = True
        self._is_stuck = not self._stop(0 if self._is_stuck else _PATIENCE)
        task = Path(f"/proc/self/task/{worker.native_id}")
        until = time.monotonic() + _PATIENCE
        # What Python counts is there a moment longer than what it joins.
        while not self._is_stuck and task.exists() and time.monotonic() < until:
            time.sleep(0.0001)

    def go_on_after_fork(self) -> None:
        """Have a worker again, as before the fork."""
        if self._is_forking:
            self._is_forking = self._stopping = False
            self._start()

    def is_its_worker(self) -> bool:
        """Return whether the running thread is the worker itself."""
        return self._worker is threading.current_thread()

    # -- The worker --------------------------------------------------------------------------

    def _start(self) -> None:
        with self._lock:
            if self._worker is not None or self._closed:
                return
            if self._is_ending:
                self._work_here([])
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
        """Flush when this process exits. Idempotent."""
        if self._exit_registered_in == os.getpid():
            return
        if not self._exit_registered_in:
            atexit.register(self._at_exit)
        self._exit_registered_in = os.getpid()
        for name in ("multiprocessing.util", "billiard.util"):
            module = sys.modules.get(name)
            if module is not None:
                self._finalize(module)
                # A child of the fork server imports the project first, and then drops all finalizers.
                module.register_after_fork(self, partial(Pipeline._finalize, module=module))

    def _finalize(self, module: Any) -> None:
        """Flush at the end of a child of *module*: os._exit() passes atexit by."""
        if self._exit_registered_in == os.getpid():
            module.Finalize(None, self._at_exit, exitpriority=10)

    def _at_exit(self) -> None:
        self._pace.is_over = True
        # The store is to hear that nothing waits any more, not what waited seconds ago.
        self._tick_at = 0.0
        flushed = guard("exit", self.force_flush, self.options.exit_seconds)
        guard("exit", self.warn_of_losses)
        # A subinterpreter may not end while it has a thread, and takes the whole process with it.
        self._is_ending = True
        guard("exit", self._stop, 0.5 if flushed else 0.05)
        for exporter in self._exporters:
            # The worker may live on for a moment: only flush, the process ends anyway.
            guard(f"flush of exporter {exporter.name}", exporter.force_flush)
