"""The rows of a batch of traces, as the tables have them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from tracing.analysis.histogram import HOUR_NS
from tracing.pipeline import yield_interpreter
from tracing.spans import records
from tracing.store import models
from tracing.store.columns import (
    TRACE_COLUMNS,
    call_extra,
    dispatch_extra,
    dump,
    encode_trace_extra,
    hazard_fingerprint,
    shared_of,
)
from tracing.store.labels import NAME_LIMIT
from tracing.store.repeats import shares_sums, subtract_repeats
from tracing.store.summing import Batch, Sum, Wire, Wires

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tracing.store.labels import Labels

DISPATCH_COLUMNS = (
    "id", "trace_id", "number", "parent_number", "depth", "signal_id", "sender_id", "callsite_id",
    "shared_id", "method", "transaction", "start_ns", "duration_ns", "instance",
    "receiver_call_count", "query_count", "query_ns",
)  # fmt: skip
CALL_COLUMNS = (
    "id", "dispatch_id", "number", "position", "receiver_id", "outcome", "start_ns", "duration_ns",
    "nested_ns", "query_count", "query_ns",
)  # fmt: skip
FIRST_CHANGING = TRACE_COLUMNS.index("label_id")
CHANGING_COLUMNS = TRACE_COLUMNS[FIRST_CHANGING:-2]
"""What a later segment of a trace changes: not its ids, nor what people set."""

_KIND = {word: number for number, word in enumerate(models.KIND_CODES)}
_STATUS = {word: number for number, word in enumerate(models.STATUS_CODES)}
_METHOD = {word: number for number, word in enumerate(models.METHOD_CODES)}
_OUTCOME = {word: number for number, word in enumerate(models.OUTCOME_CODES)}
_TRANSACTION = {word: number for number, word in enumerate(models.TRANSACTION_CODES)}

_TASK = records.Kind.TASK
_RAISED = records.Outcome.RAISED
_RETURNED = models.OUTCOME_CODES[0]
_SKIPPED = records.Outcome.SKIPPED


class StoredTrace:
    """A stored trace: its row, last segment, whether it is mine, ``extra``."""

    __slots__ = ("extra", "final", "mine", "row", "segment")

    def __init__(
        self,
        row: int,
        segment: int,
        final: bool,  # noqa: FBT001 - columns of a row.
        mine: bool,  # noqa: FBT001
        extra: str,
    ) -> None:
        self.row = row
        self.segment = segment
        self.final = bool(final)
        self.mine = bool(mine)
        self.extra = extra


def is_stored(trace: records.Trace, known: dict[str, StoredTrace]) -> bool:
    """Return whether *trace*, or its segment, is stored as far as it goes."""
    stored = known.get(trace.root_span_id)
    return stored is not None and (stored.final or stored.segment >= trace.segment)


def task_links(trace: records.Trace, *, is_new: bool) -> list[tuple[str, bool]]:
    """Return (task id, ran) of the tasks that *trace* enqueued or is a run of.

    The task that follows a group counts as enqueued by each of its runs.

    Args:
        trace: A trace, or a segment of one.
        is_new: Nothing of it is stored yet.
    """
    if not trace.side_effects and trace.kind is not _TASK:
        return []
    found = [(effect.task_id, False) for effect in trace.side_effects if effect.task_id]
    if is_new and (task_id := trace.task_id):
        found += ((chord_id, False) for chord_id in trace.chord_ids)
        found.append((task_id, True))
    return [*dict.fromkeys(found)]


_Occurrence = tuple[int, "records.Hazard", int, int]
"""(row id, hazard, row id of the trace, when the trace began)."""


class TraceRows:
    """The rows of one batch.

    Args:
        labels: The ids of all names in it.
        known: What is stored of its traces, by root span id.
        first: The first id of each sequence.
    """

    def __init__(
        self, labels: Labels, known: dict[str, StoredTrace], first: dict[str, int]
    ) -> None:
        self.labels = labels
        self.known = known
        self._trace = first.get("trace", 0)
        self._dispatch = first.get("dispatch", 0)
        self._other = first.get("other", 0)
        self.traces: list[tuple[Any, ...]] = []
        self.changed: list[tuple[Any, ...]] = []
        # Most rows have no `extra` and are shorter: a NULL costs SQLite's module more than the rest of a row.
        self.dispatches: list[tuple[Any, ...]] = []
        self.dispatches_more: list[tuple[Any, ...]] = []
        self.calls: list[tuple[Any, ...]] = []
        self.calls_more: list[tuple[Any, ...]] = []
        self.failed: list[tuple[Any, ...]] = []
        self.orphans: list[tuple[Any, ...]] = []
        self.bypasses: list[tuple[Any, ...]] = []
        self.tasks: list[tuple[Any, ...]] = []
        self.hazards: dict[str, list[_Occurrence]] = {}
        self.sums: Batch = {}
        self._reached: dict[int, int] = {}
        """Up to where the calls of each receiver have taken the time of the trace at hand."""
        self._in_turn = True
        """No two of its calls of one receiver share a moment, as far as they were looked at."""

    def tables(self) -> Sequence[tuple[str, tuple[tuple[str, ...], list[tuple[Any, ...]]]]]:
        """Return the tables with the columns and rows to insert."""
        return (
            ("tracing_trace", (TRACE_COLUMNS, self.traces)),
            ("tracing_dispatch", (DISPATCH_COLUMNS, self.dispatches)),
            ("tracing_dispatch", ((*DISPATCH_COLUMNS, "extra"), self.dispatches_more)),
            ("tracing_receivercall", (CALL_COLUMNS, self.calls)),
            ("tracing_receivercall", ((*CALL_COLUMNS, "extra"), self.calls_more)),
            (
                "tracing_failedcall",
                (("id", "dispatch_id", "receiver_id", "exception_type"), self.failed),
            ),
            (
                "tracing_orphan",
                (("id", "trace_id", "signal_id", "sender_id", "count"), self.orphans),
            ),
            (
                "tracing_bypass",
                (
                    (
                        "id", "trace_id", "operation", "model", "rows", "start_ns",
                        "parent_number", "callsite_id", "signals", "receivers",
                    ),
                    self.bypasses,
                ),
            ),
            ("tracing_tasklink", (("id", "task_id", "ran", "trace_id"), self.tasks)),
        )  # fmt: skip

    def next_other(self) -> int:
        """Return the next id of the sequence that the smaller tables share."""
        self._other += 1
        return self._other - 1

    def rows(self, batch: Sequence[records.Trace]) -> TraceRows:
        """Make the rows of *batch*; return self."""
        for _ in self._each(batch):
            pass
        return self

    def calls_of_each(self, batch: Sequence[records.Trace]) -> Iterator[list[tuple[Any, ...]]]:
        """Make the rows of *batch*, yielding most receiver calls trace by trace."""
        for _ in self._each(batch):
            yield self.calls
            self.calls.clear()

    def _each(self, batch: Sequence[records.Trace]) -> Iterator[None]:
        """Make the rows of *batch*, one trace at each step."""
        for trace in batch:
            stored = self.known.get(trace.root_span_id)
            if stored is None:
                row = self._trace
                self._trace += 1
                self.traces.append(self._trace_row(row, trace, "", mine=False))
            else:
                row = stored.row
                changed = self._trace_row(row, trace, stored.extra, mine=stored.mine)
                self.changed.append(changed)
            self._dispatch_rows(row, trace)
            if trace.orphans or trace.bypasses or trace.hazards or trace.known_hazards:
                self._other_rows(row, trace)
            self.tasks += [
                (self.next_other(), task_id, ran, row)
                for task_id, ran in task_links(trace, is_new=stored is None)
            ]
            yield
            yield_interpreter()

    def _trace_row(
        self, row: int, trace: records.Trace, extra: str, *, mine: bool
    ) -> tuple[Any, ...]:
        """Return the row of *trace*, after segments with *extra* and *mine*."""
        return (
            row,
            trace.trace_id,
            trace.root_span_id,
            self.labels.traces[trace.name],
            _KIND[trace.kind],
            _STATUS[trace.status],
            trace.status is records.Status.ERROR or trace.error_count > 0,
            trace.started_ns,
            trace.duration_ns,
            trace.parent_span_id,
            trace.parent_trace_id,
            trace.http_method[:10],
            trace.http_path[:500],
            trace.http_status,
            trace.user_id[:64],
            trace.host[:100],
            trace.process,
            trace.thread[:100],
            trace.release[:100],
            trace.error[:500],
            dump(trace.attributes) if trace.attributes else "",
            _more_extra(trace, extra),
            trace.dispatch_count,
            trace.receiver_call_count,
            trace.query_count,
            trace.query_ns,
            trace.signal_ns,
            trace.error_count,
            trace.hazard_count,
            trace.dropped_count,
            trace.orphan_count,
            trace.overhead_ns,
            trace.segment,
            trace.final,
            mine or trace.is_mine,
            False,
            "",
        )

    def _dispatch_rows(self, trace_row: int, trace: records.Trace) -> None:
        # With the next method the hot loop of the exporter: everything is local, and nothing is called
        # that is not needed. It runs once for every dispatch and receiver call of the application.
        labels = self.labels
        shared, same_get = labels.shared, labels.same.get
        add_dispatch = self.dispatches.append
        row, thread = self._dispatch, trace.thread
        first_hour = trace.started_ns // HOUR_NS
        spans_hours = (trace.started_ns + trace.duration_ns) // HOUR_NS != first_hour
        wires = self.sums.setdefault(first_hour, {})
        reached, overlaps = 0, shares_sums(trace)
        self._reached, self._in_turn = {}, True
        for dispatch in trace.dispatches:
            start, calls = dispatch.start_ns, dispatch.receiver_calls
            if spans_hours:
                wires = self.sums.setdefault((trace.started_ns + start) // HOUR_NS, {})
            sender, instance = dispatch.sender, dispatch.instance
            key = (dispatch.signal, sender)
            wire = wires.get(key)
            if wire is None:
                wire = wires[key] = Wire(labels.signals[key[0]], labels.senders[sender])
            if instance:
                model, colon, primary_key = instance.partition(":")
                if colon and model == sender:
                    instance = colon + primary_key
                if len(instance) > NAME_LIMIT:
                    instance = instance[:NAME_LIMIT]
            duration, site = dispatch.duration_ns, dispatch.callsite
            overlaps |= start < reached
            reached = start + duration
            callsite = None
            if site is not None:
                same = same_get(id(site))
                callsite = same[1] if same is not None else labels.callsite(site)
            query_count, query_ns = dispatch.query_count, dispatch.query_ns
            fields = (
                row, trace_row, dispatch.number, dispatch.parent_number, dispatch.depth,
                wire.signal, wire.sender, callsite, shared[shared_of(dispatch)],
                _METHOD[dispatch.method], _TRANSACTION[dispatch.transaction], start, duration,
                instance, len(calls), query_count, query_ns,
            )  # fmt: skip
            if (
                dispatch.thread != thread
                or dispatch.exception_type
                or dispatch.pk_count is not None
                or dispatch.same_instance_as is not None
                or dispatch.values
            ):
                self.dispatches_more.append((*fields, dispatch_extra(dispatch, thread)))
            else:
                add_dispatch(fields)
            total = wire.own
            total.durations.append(duration)
            if query_count:
                total.queries += query_count
                total.query_ns += query_ns
            row = self._call_rows(row, dispatch, wire)
        self._dispatch = row
        self._subtract_repeats(trace, None if spans_hours else wires, overlaps=overlaps)

    def _call_rows(self, row: int, dispatch: records.Dispatch, wire: Wire) -> int:
        """Make the rows of the calls of *dispatch*; return the next free id."""
        labels, start, sums = self.labels, dispatch.start_ns, wire.calls
        same_get, add_call = labels.same.get, self.calls.append
        reached, failed, call_row = self._reached, False, row
        for call in dispatch.receiver_calls:
            call_row += 1
            same = same_get(id(call.receiver))
            receiver = same[1] if same is not None else labels.receiver(call.receiver)
            began, duration, outcome = call.start_ns, call.duration_ns, call.outcome
            query_count, query_ns = call.query_count, call.query_ns
            fields = (
                call_row, row, call.number, call.position, receiver,
                0 if outcome is _RETURNED else _OUTCOME[outcome],
                began - start, duration, duration - call.self_ns, query_count, query_ns,
            )  # fmt: skip
            if (
                call.response_type
                or call.statements
                or call.exception_type
                or call.thread_switch_ns
                or call.duplicate_of is not None
                or call.cpu_ns is not None
                or call.exception_message
            ):
                self.calls_more.append((*fields, call_extra(call, labels.statements)))
            else:
                add_call(fields)
            if outcome is _SKIPPED:
                continue
            if began < reached.get(receiver, began):
                self._in_turn = False
            reached[receiver] = began + duration
            found = sums.get(receiver)
            total = found if found is not None else sums.setdefault(receiver, Sum())
            if duration or call.is_timed:
                total.durations.append(duration)
            else:
                total.untimed += 1
            if query_count:
                total.queries += query_count
                total.query_ns += query_ns
            if (cpu_ns := call.cpu_ns) is not None:
                total.cpu_ns = (total.cpu_ns or 0) + cpu_ns
            if outcome is _RAISED:
                failed = True
                total.errors += 1
                self.failed.append((call_row, row, receiver, call.exception_type[:NAME_LIMIT]))
        if failed:
            wire.own.errors += 1
        return call_row + 1

    def _subtract_repeats(
        self, trace: records.Trace, wires: Wires | None, *, overlaps: bool
    ) -> None:
        """Have the sums of *trace* count each moment once.

        *wires* are its own if it has one hour.
        """
        if not overlaps:
            return

        def wires_at(dispatch: records.Dispatch) -> Wires:
            hour = (trace.started_ns + dispatch.start_ns) // HOUR_NS
            return wires if wires is not None else self.sums[hour]

        subtract_repeats(trace, wires_at, self.labels.known_receiver, in_turn=self._in_turn)

    def _other_rows(self, row: int, trace: records.Trace) -> None:
        labels = self.labels
        for signal, sender, count in trace.orphans:
            self.orphans.append(
                (self.next_other(), row, labels.signals[signal], labels.senders[sender], count)
            )
        for bypass in trace.bypasses:
            site = bypass.callsite
            self.bypasses.append((
                self.next_other(), row, bypass.operation[:20], bypass.model[:255], bypass.rows,
                bypass.start_ns, bypass.parent_number,
                None if site is None else labels.callsite(site), dump(bypass.signals),
                dump([labels.receiver(receiver) for receiver in bypass.receivers]),
            ))  # fmt: skip
        for hazard in (*trace.hazards, *trace.known_hazards):
            # Numbered here: grouped by what was found, they lose the order that the trace has.
            self.hazards.setdefault(hazard_fingerprint(hazard), []).append(
                (self.next_other(), hazard, row, trace.started_ns)
            )


def _more_extra(trace: records.Trace, before: str) -> str:
    """Return ``extra`` of *trace* with that of earlier segments."""
    extra = encode_trace_extra(trace)
    if before and extra:
        extra = json.loads(extra)
        for name, values in json.loads(before).items():
            if isinstance(values, list):
                extra[name] = values + extra.get(name, [])
        return dump(extra)
    return extra or before
