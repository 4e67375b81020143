"""Traces folded: groups of equal dispatches, without times and order."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from tracing.analysis.review.records import (
    Bypassed,
    Group,
    ReceiverCalls,
    TestBehaviour,
)
from tracing.spans.records import Outcome

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from tracing.spans.notes import SilentWrite
    from tracing.spans.records import Bypass, Dispatch, ReceiverCall, ReceiverLabel, Trace

_Within = tuple[int, int] | None
_KEPT_IN_PROCESS: Final = re.compile(
    r'SELECT .* FROM ["`]?(?:django_content_type|django_site)["`]?(?: (?:WHERE|ORDER|LIMIT)\b.*)?\Z',
    re.DOTALL,
)
"""What Django looks up once in a process: whichever test comes first runs it."""


class Folding:
    """The behaviour of one test, put together out of its traces.

    Args:
        relative: Makes a path relative to the project.
        signals_of: Tells the (signal, receiver) pairs that a bypass skipped.
    """

    def __init__(
        self,
        relative: Callable[[str], str],
        signals_of: Callable[[Bypass | SilentWrite], Iterable[tuple[str, ReceiverLabel]]],
    ) -> None:
        self._relative = relative
        self._signals_of = signals_of
        self._groups: list[Group] = []
        self._numbers: dict[tuple[_Within, str, str, str], int] = {}
        self._receivers: dict[tuple[int, str, str, int], int] = {}
        self._orphans: dict[tuple[str, str], int] = {}
        self._bypassed: dict[tuple[str, ...], Bypassed] = {}
        self._waiting: dict[tuple[int, int], int] = {}
        self._connected: set[tuple[str, str, str]] = set()

    def add(self, trace: Trace) -> None:
        """Add what *trace* holds."""
        places: dict[int, tuple[int, int]] = {}
        on_commit = (
            set(trace.diagnosis_context.on_commit) if trace.diagnosis_context is not None else set()
        )
        for dispatch in trace.dispatches:
            within = places.get(dispatch.parent_number or 0)
            number = self._group(dispatch, within)
            group = self._groups[number]
            group.methods[str(dispatch.method)] = group.methods.get(str(dispatch.method), 0) + 1
            group.on_commit += dispatch.number in on_commit
            if dispatch.exception_type:
                kind = dispatch.exception_type.rpartition(".")[2]
                group.escaped[kind] = group.escaped.get(kind, 0) + 1
            for call in dispatch.receiver_calls:
                places[call.number] = number, self._call(number, call)
        for signal, sender, count in trace.orphans:
            self._orphans[signal, sender] = self._orphans.get((signal, sender), 0) + count
        writes: list[Bypass | SilentWrite] = [*trace.bypasses, *trace.silent_writes]
        for write in writes:
            self._bypass(write)
        for waiting in trace.waiting_callbacks:
            place = places.get(waiting.parent_number or 0, (-1, -1))
            self._waiting[place] = self._waiting.get(place, 0) + waiting.count
        for change in trace.connection_changes:
            if change.change == "connected":
                self._connected.add((change.signal, change.sender, change.receiver.name))

    def _group(self, dispatch: Dispatch, within: _Within) -> int:
        """Return the number of the group to which *dispatch* belongs."""
        key = (within, dispatch.signal, dispatch.sender, dispatch.action)
        number = self._numbers.get(key)
        site = dispatch.callsite
        place = (self._relative(site.file), site.line) if site is not None else ("", 0)
        if number is None:
            number = self._numbers[key] = len(self._groups)
            self._groups.append(
                Group(
                    file=place[0],
                    line=place[1],
                    signal=dispatch.signal,
                    sender=dispatch.sender,
                    action=dispatch.action,
                    within=within,
                    methods={},
                    escaped={},
                    receivers=[],
                )
            )
        elif site is not None:
            # The first in the source, whichever was first in time.
            group = self._groups[number]
            group.file, group.line = min((group.file, group.line), place)
        return number

    def _call(self, number: int, call: ReceiverCall) -> int:
        """Count *call* in its group; return the place of its receiver there."""
        label = call.receiver
        key = number, label.name, label.file, label.line
        receivers = self._groups[number].receivers
        place = self._receivers.get(key)
        if place is None:
            place = self._receivers[key] = len(receivers)
            receivers.append(
                ReceiverCalls(
                    receiver=label.name,
                    file=self._relative(label.file),
                    line=label.line,
                    is_async=label.is_async,
                    any_sender=label.any_sender,
                    mine=label.mine,
                    outcomes={},
                    queries={},
                    statements={},
                )
            )
        calls = receivers[place]
        outcome = str(call.outcome)
        if call.outcome is Outcome.RAISED:
            outcome = f"raised {call.exception_type.rpartition('.')[2]}"
        calls.outcomes[outcome] = calls.outcomes.get(outcome, 0) + 1
        if call.was_called:
            queries = call.query_count
            for sql, count, _ns in call.statements:
                if _KEPT_IN_PROCESS.match(sql):
                    queries -= count
                else:
                    calls.statements[sql] = calls.statements.get(sql, 0) + count
            calls.queries[queries] = calls.queries.get(queries, 0) + 1
        return place

    def _bypass(self, bypass: Bypass | SilentWrite) -> None:
        site = bypass.callsite
        for signal, label in self._signals_of(bypass):
            key = (bypass.operation, signal, bypass.model, label.name)
            known = self._bypassed.get(key)
            if known is not None:
                known.count += 1
                continue
            self._bypassed[key] = Bypassed(
                file=self._relative(site.file) if site is not None else "",
                line=site.line if site is not None else 0,
                operation=bypass.operation,
                signal=signal,
                sender=bypass.model,
                receiver=label.name,
                receiver_file=self._relative(label.file),
                receiver_line=label.line,
            )

    def behaviour(self, test: str, *, failed: bool) -> TestBehaviour:
        """Return what was added, in an order that says nothing of time."""
        order = self._order()
        numbers = {old: new for new, old in enumerate(order)}
        groups = [self._groups[old] for old in order]
        for group in groups:
            if group.within is not None:
                group.within = numbers[group.within[0]], group.within[1]
            for calls in group.receivers:
                calls.outcomes = dict(sorted(calls.outcomes.items()))
                calls.queries = dict(sorted(calls.queries.items()))
                calls.statements = dict(sorted(calls.statements.items()))
        return TestBehaviour(
            test,
            failed=failed,
            groups=groups,
            orphans=sorted((*pair, count) for pair, count in self._orphans.items()),
            bypassed=[self._bypassed[key] for key in sorted(self._bypassed)],
            waiting=sorted(
                (numbers.get(group, -1), receiver, count)
                for (group, receiver), count in self._waiting.items()
            ),
            connected=sorted(self._connected),
        )

    def _order(self) -> list[int]:
        """Return the numbers of the groups level by level, ordered by names."""
        below: dict[int, list[int]] = {}
        for number, group in enumerate(self._groups):
            below.setdefault(group.within[0] if group.within else -1, []).append(number)
        order: list[int] = []
        level = [-1]
        while level:
            level = [
                number
                for above in level
                for number in sorted(below.get(above, ()), key=self._sorting)
            ]
            order += level
        return order

    def _sorting(self, number: int) -> tuple[int, str, str, str]:
        """Return what orders the groups below one."""
        group = self._groups[number]
        place = group.within[1] if group.within is not None else -1
        return place, group.signal, group.sender, group.action
