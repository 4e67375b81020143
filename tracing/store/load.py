"""Records from rows: traces whole, and questions about dispatches."""

from __future__ import annotations

import json
from functools import partial
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Final

from tracing.spans import records
from tracing.store import deadlines
from tracing.store.columns import (
    TRACE_FIELDS,
    decode_extra,
    decode_shared,
    decode_trace_extra,
    full_instance,
)
from tracing.store.generics import Trace, all_of
from tracing.store.ranges import chunks, conditions_on

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Sequence


# -- Building spans --------------------------------------------------------------------------


def load_traces(rows: Sequence[Trace], using: str) -> Iterator[records.Trace]:
    """Yield the finished spans of each of *rows*, all read at once."""
    manager = partial(all_of, using=using)
    traces: dict[int, records.Trace] = {}
    for row in rows:
        trace = records.Trace(
            kind=records.Kind(row.kind),
            name=row.name,
            status=records.Status(row.status),
            attributes=json.loads(row.attributes) if row.attributes else {},
            **decode_trace_extra(row.extra),
            **{name: getattr(row, name) for name in TRACE_FIELDS},
        )
        traces[row.pk] = trace
    dispatches, ranges = _load_dispatches(traces, manager)
    _load_calls(
        {key: one for some in dispatches.values() for key, one in some.items()}, ranges, manager
    )
    for key, trace in traces.items():
        trace.dispatches = sorted(dispatches[key].values(), key=attrgetter("number"))
    for key, signal, sender, count in (
        manager("Orphan")
        .filter(trace__in=list(traces))
        .order_by("pk")
        .values_list("trace_id", "signal__name", "sender__name", "count")
    ):
        traces[key].orphans.append((signal, sender, count))
    _load_bypasses(traces, manager)
    for key, data in (
        manager("HazardOccurrence")
        .filter(trace__in=list(traces))
        .order_by("pk")
        .values_list("trace_id", "data")
    ):
        hazard = records.Hazard(**json.loads(data))
        (traces[key].known_hazards if hazard.known else traces[key].hazards).append(hazard)
    yield from traces.values()


_METHODS: Final = {str(member): member for member in records.Method}
_TRANSACTIONS: Final = {str(member): member for member in records.TransactionOutcome}
_OUTCOMES: Final = {str(member): member for member in records.Outcome}


def _load_dispatches(
    traces: dict[int, records.Trace], manager: Any
) -> tuple[dict[int, dict[int, records.Dispatch]], list[tuple[int, int]]]:
    """Return each trace's dispatches by row id, and the ids of their calls.

    Labels are read once each instead of joined to each row: a trace of 20,000 dispatches has a few
    dozen of them.
    """
    rows = list(
        manager("Dispatch")
        .filter(trace__in=list(traces))
        .order_by("pk")
        .values_list(
            "id", "trace_id", "number", "parent_number", "depth", "signal_id", "sender_id",
            "method", "transaction", "start_ns", "duration_ns", "instance", "query_count",
            "query_ns", "extra", "shared_id", "callsite_id", "receiver_call_count",
        )
    )  # fmt: skip
    signals = labels_of(manager("SignalLabel"), {row[5] for row in rows}, "name")
    senders = labels_of(manager("SenderLabel"), {row[6] for row in rows}, "name")
    shared = _shared({row[15] for row in rows}, manager)
    callsites = _callsites({row[16] for row in rows}, manager)
    loaded: dict[int, dict[int, records.Dispatch]] = {key: {} for key in traces}
    ranges: list[tuple[int, int]] = []
    for (
        key, trace_key, number, parent, depth, signal, sender, method, transaction, start, duration,
        instance, query_count, query_ns, extra, shared_key, callsite, calls,
    ) in deadlines.minded(rows):  # fmt: skip
        try:
            (signal_name,), (sender_name,) = signals[signal], senders[sender]
            rare = {"thread": traces[trace_key].thread, **shared[shared_key]}
        except KeyError:  # Pruned between the two queries.
            continue
        if extra is not None:
            rare |= decode_extra(extra)
        loaded[trace_key][key] = records.Dispatch(
            number=number,
            parent_number=parent,
            depth=depth,
            signal=signal_name,
            sender=sender_name,
            method=_METHODS[method],
            transaction=_TRANSACTIONS[transaction],
            start_ns=start,
            duration_ns=duration,
            instance=full_instance(instance, sender_name),
            query_count=query_count,
            query_ns=query_ns,
            callsite=callsites.get(callsite),
            **rare,
        )
        # Dispatches of one trace mostly follow one another: there is mostly one range.
        if calls and ranges and ranges[-1][1] + 1 >= key:
            ranges[-1] = (ranges[-1][0], max(ranges[-1][1], key + calls))
        elif calls:
            ranges.append((key + 1, key + calls))
    return loaded, ranges


def _shared(keys: set[int | None], manager: Any) -> dict[Any, dict[str, Any]]:
    labels = labels_of(manager("SharedAttributes"), keys, "shared")
    return {key: decode_shared(text) for key, (text,) in labels.items()}


def _callsites(keys: set[int | None], manager: Any) -> dict[Any, records.Callsite]:
    labels = labels_of(manager("CallsiteLabel"), keys, "file", "line", "name")
    return {key: records.Callsite(*place) for key, place in labels.items()}


def receivers_of(keys: Collection[int], manager: Any) -> dict[int, records.ReceiverLabel]:
    """Return the labels *keys* of receivers, by key.

    Args:
        keys: Their row ids.
        manager: Returns all rows of a model, by its name.
    """
    labels = labels_of(
        manager("ReceiverLabel"), keys, "name", "file", "line", "dispatch_uid", "weak", "is_async",
        "app", "any_sender", "mine",
    )  # fmt: skip
    return {
        key: records.ReceiverLabel(
            name, file, line, uid, bool(weak), bool(is_async), app, bool(any_sender), bool(mine)
        )
        for key, (name, file, line, uid, weak, is_async, app, any_sender, mine) in labels.items()
    }


def _load_calls(
    dispatches: dict[int, records.Dispatch], ranges: list[tuple[int, int]], manager: Any
) -> None:
    """Put the receiver calls in *ranges* into their *dispatches*."""
    with_statements: list[records.ReceiverCall] = []
    # Most of them say the same, as that nothing was returned but a text.
    extras: dict[str | None, dict[str, Any]] = {None: {}}
    receivers: dict[int, records.ReceiverLabel] = {}
    for wanted in conditions_on(ranges):
        rows = list(
            manager("ReceiverCall")
            .filter(wanted)
            .order_by("pk")
            .values_list(
                "dispatch_id", "number", "position", "outcome", "start_ns", "duration_ns",
                "nested_ns", "query_count", "query_ns", "extra", "receiver_id",
            )
        )  # fmt: skip
        receivers |= receivers_of({row[10] for row in rows} - receivers.keys(), manager)
        for (
            owner, number, position, outcome, start, duration, nested, query_count, query_ns,
            extra, label,
        ) in deadlines.minded(rows):  # fmt: skip
            dispatch = dispatches.get(owner)
            if dispatch is None or label not in receivers:
                continue
            if (rare := extras.get(extra)) is None:
                rare = extras[extra] = decode_extra(extra)
            call = records.ReceiverCall(
                number=number,
                position=position,
                receiver=receivers[label],
                start_ns=dispatch.start_ns + start,
                duration_ns=duration,
                self_ns=duration - nested,
                outcome=_OUTCOMES[outcome],
                query_count=query_count,
                query_ns=query_ns,
                **rare,
            )
            dispatch.receiver_calls.append(call)
            if call.statements:
                with_statements.append(call)
    _name_statements(with_statements, manager)


def labels_of(manager: Any, keys: Iterable[Any], *fields: str) -> dict[Any, tuple[Any, ...]]:
    """Return the *fields* of the labels *keys*, by key; None is no key."""
    found: dict[Any, tuple[Any, ...]] = {}
    for chunk in chunks([key for key in keys if key is not None], 900):
        rows = manager.filter(pk__in=chunk).values_list("pk", *fields)
        found.update((row[0], row[1:]) for row in rows)
    return found


def _name_statements(calls: list[records.ReceiverCall], manager: Any) -> None:
    """Put the texts of the statements of *calls* where their ids are."""
    wanted = list({key for call in calls for key, _, _ in call.statements})
    texts = labels_of(manager("StatementLabel"), wanted, "statement")
    for call in calls:
        call.statements = tuple(
            (*texts.get(key, ("",)), count, ns) for key, count, ns in call.statements
        )


def _load_bypasses(traces: dict[int, records.Trace], manager: Any) -> None:
    rows = [
        (row, json.loads(row.receivers))
        for row in manager("Bypass").filter(trace__in=list(traces)).order_by("pk")
    ]
    receivers = receivers_of({key for _, keys in rows for key in keys}, manager)
    callsites = _callsites({row.callsite_id for row, _ in rows}, manager)
    for row, keys in rows:
        bypass = records.Bypass(
            operation=row.operation,
            model=row.model,
            signals=tuple(json.loads(row.signals)),
            receivers=tuple(receivers[key] for key in keys),
            rows=row.rows,
            start_ns=row.start_ns,
            callsite=callsites.get(row.callsite_id),
            parent_number=row.parent_number,
        )
        traces[row.trace_id].bypasses.append(bypass)
