"""One exporter and its backlog: retries, blame, dropping of old traces."""

from __future__ import annotations

import logging
import pickle
import random
from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from tracing.clocks import time
from tracing.instrumentation import buffer as recording_buffer
from tracing.instrumentation import failures
from tracing.instrumentation.assembly.repair import repaired
from tracing.instrumentation.attributes.redaction import redact_error
from tracing.pipeline.exporter import Exporter, ExporterStatistics, TemporaryError
from tracing.units import plural

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from tracing.conf.parts import PipelineOptions
    from tracing.pipeline.exporter import Gathering, Processor
    from tracing.spans import records

logger = logging.getLogger("tracing")


class _Batch:
    """Traces that an exporter has not taken yet."""

    __slots__ = ("_packed", "_traces", "count", "deadline", "is_joined", "since", "weight")

    def __init__(
        self, traces: list[records.Trace], deadline: float, since: float | None = None
    ) -> None:
        self._traces: list[records.Trace] | None = traces
        self._packed = b""
        self.count = len(traces)
        self.deadline = deadline
        self.is_joined = since is not None
        """It stays as it is from now on: another try is with the same."""
        self.since = time.monotonic() if since is None else since
        self.weight = sum(map(weight_of, traces))

    def open(self) -> list[records.Trace]:
        """Return the traces."""
        if self._traces is not None:
            return self._traces
        # Our own bytes, which never left this process.
        traces: list[records.Trace] = pickle.loads(self._packed)  # noqa: S301
        return traces

    def pack(self) -> None:
        """Turn the traces into bytes, which are smaller and skipped by the gc.

        A hundred thousand waiting spans would be looked at by each full collection, on whatever
        thread it happens: that is a pause of 50 ms and more for the application.
        """
        if self._traces is None:
            return
        # What somebody put into a trace may be more than pickle can follow: that stays as it is. Not as
        # msgpack: the labels that calls share would come back as one for each call.
        with suppress(RecursionError, pickle.PicklingError, AttributeError, TypeError):
            self._packed = pickle.dumps(self._traces, pickle.HIGHEST_PROTOCOL)
            self._traces = None


class Delivery:
    """One exporter, with what it has not taken yet."""

    def __init__(self, exporter: Exporter) -> None:
        self.exporter = exporter
        self.waiting: deque[_Batch] = deque()
        self.items = 0
        self.exported = self.dropped = self.failures = self.streak = 0
        self._dropped_before = 0
        self.error = ""
        self.retry_at = 0.0
        self._failing_since = 0.0
        self._announced = False
        self._blamed: set[str] = set()
        self._gathers: Gathering | None = getattr(exporter, "gathers", None)

    @property
    def is_gathering(self) -> bool:
        """Return whether all that waits, if anything does, waits for more."""
        if not self.waiting:
            return True
        if self._gathers is None or self.streak or self.waiting[0].is_joined:
            return False
        waited = time.monotonic() - self.waiting[0].since
        return self.items < self._gathers.items and waited < self._gathers.seconds

    def offer(self, traces: list[records.Trace], options: PipelineOptions) -> None:
        """Queue *traces* behind the backlog; drop the oldest if that is much."""
        parcel = _Batch(traces, time.monotonic() + options.retry_seconds)
        self.waiting.append(parcel)
        self.items += parcel.weight
        if self.streak:
            parcel.pack()
            while self.items > options.queue_limit and len(self.waiting) > 1:
                self._drop()

    def run(self, *, forced: bool) -> None:
        """Hand over what is waiting, unless the exporter is to be left alone."""
        if not self.waiting or (self.is_gathering and not forced):
            return
        now = time.monotonic()
        if now < self.retry_at and not forced:
            self._drop_late(now)
            return
        while self.waiting:
            parcel = self._join()
            traces = parcel.open()
            try:
                self.exporter.export(traces)
            except (TemporaryError, OSError) as error:
                self._postpone(error, forced=forced)
                self._drop_late(now)
                return
            except Exception as error:  # noqa: BLE001 - whatever it is, the others go on.
                self._isolate_failure(error, traces)
            else:
                self.waiting.popleft()
                self.items -= parcel.weight
                self.exported += parcel.count
                self._recovered()

    def _join(self) -> _Batch:
        """Return the first batch, joined with others if the exporter wants that."""
        first = self.waiting[0]
        if self._gathers is None or first.is_joined:
            return first
        parts, weight = [], 0
        while self.waiting and weight < self._gathers.items:
            parts.append(self.waiting.popleft())
            weight += parts[-1].weight
        traces = [trace for part in parts for trace in part.open()]
        joined = _Batch(traces, parts[-1].deadline, first.since)
        self.waiting.appendleft(joined)
        return joined

    def took_all(self) -> bool:
        """Return whether nothing waits, or was dropped since last asked."""
        kept = not self.waiting and self.dropped == self._dropped_before
        self._dropped_before = self.dropped
        return kept

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
        self.retry_at = now + delay * random.Random().uniform(0.5, 1.0)  # noqa: S311
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
                "The %s exporter writes traces again after %s; %s lost.",
                self.exporter.name,
                plural(self.streak, "failed attempt"),
                plural(self.dropped, "trace"),
            )
        self._announced = False
        self.streak = 0
        self.retry_at = 0.0
        self.error = ""

    def _isolate_failure(self, error: Exception, traces: list[records.Trace]) -> None:
        """Find the trace that cannot be exported by halving the batch."""
        parcel = self.waiting.popleft()
        self.items -= parcel.weight
        if len(traces) > 1:
            middle = len(traces) // 2
            for half in (traces[middle:], traces[:middle]):
                part = _Batch(half, parcel.deadline, parcel.since)
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


def weight_of(trace: Any) -> int:
    """Return roughly how many recorded items *trace* holds; at least 1."""
    buffers = getattr(trace, "buffers", None)
    if buffers is not None:
        values = sum(len(buffer.recorded or ()) for buffer in buffers)
        return 1 + values // recording_buffer.VALUES_PER_DISPATCH
    dispatches = getattr(trace, "dispatches", None)
    if dispatches is None:
        return getattr(trace, "weight", 1)
    return 1 + sum(1 + len(dispatch.receiver_calls) for dispatch in dispatches)


def processed(trace: records.Trace, processors: Iterable[Processor]) -> records.Trace | None:
    """Return what *processors* make of *trace*; None if one drops it."""
    for processor in processors:
        try:
            found = processor(trace)
        except Exception as error:  # noqa: BLE001 - the trace is worth more than a verdict.
            failures.failed("a processor", error)
            continue
        if found is None:
            return None
        trace = found
    return trace


def guard(place: str, function: Callable[..., Any], *args: Any) -> Any:
    """Return the result of *function*; None if it raises, which is counted."""
    try:
        return function(*args)
    except Exception as error:  # noqa: BLE001 - the traced program comes first.
        failures.failed(place, error)
        return None
