"""Reading: dispatches and their receivers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from tracing.instrumentation.assembly.details import plain_name, put_details
from tracing.instrumentation.assembly.numbers import Given
from tracing.instrumentation.assembly.state import Open, Reader, State
from tracing.spans.intervals import covered_within
from tracing.spans.records import Dispatch, Method, Outcome, ReceiverCall, TransactionOutcome

if TYPE_CHECKING:
    from tracing.instrumentation.connections.receiver_sets import ReceiverSet

# In Python 3.11 each look-up of a member at its enum runs Python code; these are looked up by the thousand.
_RUNNING: Final = Outcome.RUNNING
_RETURNED: Final = Outcome.RETURNED
_RAISED: Final = Outcome.RAISED
_SKIPPED: Final = Outcome.SKIPPED
_SEND: Final = Method.SEND
_SEND_ROBUST: Final = Method.SEND_ROBUST
_UNKNOWN_FATE: Final = TransactionOutcome.UNKNOWN


class Dispatches(State):
    """The reading of dispatches and their receivers, sync and async ones."""

    def _new_dispatch(
        self, reader: Reader, fields: list[Any], at: int, method: Method
    ) -> tuple[Dispatch, ReceiverSet]:
        """Return the dispatch of an opening, and who receives it.

        Args:
            reader: The place.
            fields: Those of the opening: its start first.
            at: Where the number of the receiver set stands; the callsite and the details follow.
            method: How it was sent.
        """
        label = self._receiver_set(fields[at])
        stack = reader.stack
        if stack:
            call, is_detached = stack[-1].call, stack[-1].is_link
        else:
            call, is_detached = self._call_around(reader), reader.outer_is_link
        depth, parent = 0, None
        if call is not None:
            parent = call.number
            depth = self._depths.get(parent, 0) + 1
        since = fields[0] - self._began
        numbers = self._numbers
        given, reader.given = reader.given, None
        # By position, which is cheaper, up to the parent.
        dispatch = Dispatch(
            numbers.next() if given is None else numbers.of_dispatch(given, reader.place),
            self._signal(label),
            label.sender,
            method,
            0 if since < 0 else since,  # noqa: FURB136 - a call costs more.
            0,
            depth,
            parent,
            is_detached=is_detached and call is not None,
            callsite=self._site(fields[at + 1], fields[at + 2]),
            thread=reader.buffer.thread,
        )
        if fields[at + 3] is not None:
            try:
                put_details(dispatch, fields, at + 3, self._key_text)
            except Exception as error:
                self._note_unreadable("the details of a dispatch", error)
        if reader.blocks:
            self._note_block(reader, dispatch)
        if parent is not None:
            beside = self._sent.get(parent)
            if beside is None:
                self._sent[parent] = [dispatch]
            else:
                beside.append(dispatch)
        elif self._first_root is None:
            self._first_root = dispatch
        if stack and stack[-1].dispatch is None:
            self._on_commit.append(dispatch.number)
        self.trace.dispatch_count += 1
        return dispatch, label

    def _read_numbers(self, reader: Reader, fields: list[Any]) -> None:
        reader.given = Given(reader.place + len(fields) + 1, *fields)

    def _note_block(self, reader: Reader, dispatch: Dispatch) -> None:
        using = dispatch.using
        block = reader.blocks.get(using) if using else next(reversed(reader.blocks.values()))
        if block is not None:
            self._blocks.append((dispatch, (block,)))
            dispatch.transaction = _UNKNOWN_FATE
            dispatch.transaction_depth = block.depth

    def _call(
        self, dispatch: Dispatch, label: ReceiverSet, position: int, start: int
    ) -> ReceiverCall:
        since = start - self._began
        twins = label.duplicate_of
        numbers = self._numbers
        call = ReceiverCall(
            numbers.of_call(dispatch.number, position) if numbers.calls else numbers.next(),
            position,
            label.receivers[position],
            0 if since < 0 else since,  # noqa: FURB136 - a call costs more.
            0,
            0,
            _RUNNING,
        )
        if position < len(twins):
            call.duplicate_of = twins[position]
        self._depths[call.number] = dispatch.depth
        dispatch.receiver_calls.append(call)
        self.trace.receiver_call_count += 1
        return call

    def _read_send(self, reader: Reader, fields: list[Any], method: Method = _SEND) -> None:
        dispatch, label = self._new_dispatch(reader, fields, 1, method)
        first = self._call(dispatch, label, 0, fields[0]) if label.sync_count else None
        opened = Open(dispatch, label, first)
        if fields[4] is not None:
            key = fields[6]
            if type(key) is tuple and len(key) == 1:
                opened.unsaved = (fields[5], key[0])
                dispatch.same_instance_as = next(
                    (
                        above.dispatch.number
                        for above in reader.stack
                        if above.unsaved == opened.unsaved and above.dispatch is not None
                    ),
                    None,
                )
        reader.stack.append(opened)

    def _read_send_robust(self, reader: Reader, fields: list[Any]) -> None:
        self._read_send(reader, fields, _SEND_ROBUST)

    def _read_cpu(self, reader: Reader, fields: list[Any]) -> None:
        """Take a reading of the CPU clock: of an opening, or before an end."""
        (at,) = fields
        opened = reader.stack[-1] if reader.stack else None
        if opened is None:
            return
        if opened.cpu_at is None:
            opened.cpu_began = at
        elif opened.call is not None and opened.cpu_inside_ns is not None:
            opened.call.cpu_ns = max(at - opened.cpu_at - opened.cpu_inside_ns, 0)
        opened.cpu_at, opened.cpu_inside_ns = at, 0

    def _read_query_cpu(self, reader: Reader, fields: list[Any]) -> None:
        pass_cpu(reader, fields[0])

    def _returned(self, reader: Reader, end: int, response_type: str) -> None:
        if not reader.stack:
            self._stepped(reader, end)
            return
        opened = reader.stack[-1]
        call, nested_ns = opened.call, opened.nested_ns
        if call is None:
            return
        if response_type:
            call.response_type = response_type
        # Most calls end here, and as they begin: with no time of their own.
        call.outcome = _RETURNED
        duration = end - self._began - call.start_ns
        if duration > 0:
            call.duration_ns = duration
            if duration > nested_ns:
                call.self_ns = duration - nested_ns
        self._advance(reader, opened, end)

    def _end_call(self, call: ReceiverCall, end: int, outcome: Outcome, nested_ns: int) -> None:
        duration = end - self._began - call.start_ns
        call.duration_ns = duration = 0 if duration < 0 else duration  # noqa: FURB136
        call.self_ns = duration - nested_ns if duration > nested_ns else 0
        call.outcome = outcome

    def _advance(self, reader: Reader, opened: Open, end: int) -> None:
        """Go on with the next sync receiver, or close the dispatch."""
        dispatch, label, position = opened.dispatch, opened.label, opened.position + 1
        if dispatch is not None and not opened.is_batch:
            if position < label.sync_count:
                opened.position, opened.nested_ns = position, 0
                opened.call = self._call(dispatch, label, position, end)
                return
            if position == len(label.receivers):
                self._close(reader, end)
                return
        opened.position, opened.nested_ns, opened.call = position, 0, None
        if dispatch is not None and position < label.sync_count:
            opened.call = dispatch.receiver_calls[position]
            opened.call.start_ns = self._since(end)

        # Otherwise ASYNC_CLOSE or BATCH_END will say that it is over.

    def _read_returned(self, reader: Reader, fields: list[Any]) -> None:
        end, name = fields
        self._returned(reader, end, plain_name(name))

    def _read_raised(self, reader: Reader, fields: list[Any]) -> None:
        end, name, message, closes = fields
        opened = reader.stack[-1] if reader.stack else None
        if opened is None or opened.call is None or opened.dispatch is None:
            return
        call = opened.call
        name = plain_name(name)
        self._end_call(call, end, _outcome_of(name), opened.nested_ns)
        call.exception_type, call.exception_message = name, self._redacted(message)
        self.trace.error_count += 1
        if not closes:
            self._advance(reader, opened, end)
        elif opened.is_batch:
            opened.call = None
        else:
            opened.dispatch.exception_type = name
            self._close(reader, end)

    def _read_cut(self, reader: Reader, fields: list[Any]) -> None:
        """Close the dispatch that began then, and all inside it, if still open."""
        end, name, start = fields
        since = self._since(start)
        if not any(opened.began_at(since) for opened in reader.stack):
            return
        opened = reader.stack[-1]
        while not opened.began_at(since):
            self._cut(reader, opened, end, name)
            opened = reader.stack[-1]
        self._cut(reader, opened, end, name)

    def _cut(self, reader: Reader, opened: Open, end: int, name: str) -> None:
        """Close what is open without the end of its running receiver being known."""
        dispatch, call = opened.dispatch, opened.call
        if dispatch is None or opened.is_batch:
            reader.stack.pop()
            return
        end = end or self._last_moment(dispatch)
        if call is not None and call.outcome is _RUNNING:
            if call.position and dispatch.receiver_calls[call.position - 1].outcome is _RAISED:
                # The receiver after the failed one: Django's report of the failure failed.
                call.outcome = _SKIPPED
            else:
                self._end_call(call, end, Outcome.UNKNOWN, opened.nested_ns)
        dispatch.exception_type = plain_name(name)
        # What its receiver took of the CPU clock before it was cut short is not known.
        opened.cpu_at = None
        self._close(reader, end)

    def _last_moment(self, dispatch: Dispatch) -> int:
        starts = [dispatch.start_ns, *(call.start_ns for call in dispatch.receiver_calls)]
        return self.active.start + max(starts)

    def _close(self, reader: Reader, end: int) -> None:
        opened = reader.stack.pop()
        dispatch = opened.dispatch
        if dispatch is None:
            return
        duration = end - self._began - dispatch.start_ns
        dispatch.duration_ns = 0 if duration < 0 else duration  # noqa: FURB136
        if len(dispatch.receiver_calls) < len(opened.label.receivers):
            self._skip_rest(dispatch, opened.label, end)
        if reader.stack:
            above = reader.stack[-1]
            above.nested_ns += dispatch.duration_ns
            if opened.cpu_at is None:
                above.cpu_inside_ns = None
            else:
                pass_cpu(reader, opened.cpu_at - opened.cpu_began)
        self._done.append(dispatch)

    def _skip_rest(self, dispatch: Dispatch, label: ReceiverSet, end: int) -> None:
        """Record the receivers that were not called because an earlier one raised."""
        for position in range(len(dispatch.receiver_calls), len(label.receivers)):
            call = self._call(dispatch, label, position, end)
            call.outcome = _SKIPPED
            self.trace.receiver_call_count -= 1

    def _read_async_open(self, reader: Reader, fields: list[Any]) -> None:
        start, key, method = fields[0], fields[1], _METHODS[fields.pop(3)]
        dispatch, label = self._new_dispatch(reader, fields, 2, method)
        for position in range(len(label.receivers)):
            self._call(dispatch, label, position, start)
        self._by_key[key] = (dispatch, label)

    def _read_async_phase(self, reader: Reader, fields: list[Any]) -> None:
        start, key, in_event_loop = fields
        opened = reader.stack[-1] if reader.stack else None
        if opened is None or opened.dispatch is None:
            return
        opened.dispatch.in_event_loop = in_event_loop
        for position in range(opened.label.sync_count, len(opened.label.receivers)):
            self._call(opened.dispatch, opened.label, position, start)
        self._by_key[key] = (opened.dispatch, opened.label)

    def _read_async_close(self, reader: Reader, fields: list[Any]) -> None:
        end, key, escaped = fields
        dispatch = self._by_key.get(key, (None,))[0]
        if dispatch is None:
            return
        if reader.stack and reader.stack[-1].dispatch is dispatch:
            reader.stack.pop()
        if reader.stack:
            reader.stack[-1].nested_ns += max(self._since(end) - dispatch.start_ns, 0)
            pass_cpu(reader, None)
        # Now: the receiver that awaited it may end before all of it has been read.
        dispatch.duration_ns = max(self._since(end) - dispatch.start_ns, 0)
        self._closing.append((dispatch, plain_name(escaped)))

    def _settle_async(self) -> None:
        """Close ended async dispatches, once their receivers are read."""
        if self._is_cut:
            return
        # Inner ones were opened later: they go first, so that their queries reach the outer ones.
        for dispatch, escaped in sorted(self._closing, key=_by_opening, reverse=True):
            dispatch.exception_type = escaped
            for call in dispatch.receiver_calls:
                if call.outcome is _RUNNING:
                    # It never took a step, or its end is not known.
                    call.outcome = _SKIPPED if escaped else Outcome.UNKNOWN
            self._done.append(dispatch)
        self._closing.clear()

    def _stepped(self, reader: Reader, moment: int) -> None:
        """Begin or end the async receiver call whose buffer this is."""
        if reader.call is None:
            if reader.outer is not None and reader.buffer.origin[0] == "call":  # type: ignore[index]
                self._end_async_call(reader, moment, _RETURNED, "", "")
            return
        (key, position), reader.call = reader.call, None
        dispatch = self._by_key.get(key, (None,))[0]
        if dispatch is not None and position < len(dispatch.receiver_calls):
            reader.outer = dispatch.receiver_calls[position]
            reader.outer.start_ns = self._since(moment)

    def _read_call_end(self, reader: Reader, fields: list[Any]) -> None:
        end, word, name, message = fields
        self._end_async_call(reader, end, _OUTCOMES[word], name, message)

    def _end_async_call(
        self, reader: Reader, end: int, outcome: Outcome, name: str, message: str
    ) -> None:
        call = reader.outer
        reader.done = True
        if call is None:
            return
        self._end_call(call, end, outcome, 0)
        exported = self._inside.pop(call.number, None) if self._inside else None
        if exported is not None:
            inside = [interval(inner) for inner in self._waited_for(call)]
            call.self_ns = max(call.self_ns - exported.with_those(inside), 0)
        elif call.number in self._sent:
            # It may have sent several at the same time.
            call.self_ns -= covered_within(call, self._waited_for(call))
        if outcome is _RETURNED:
            call.response_type = plain_name(name)
        else:
            call.exception_type, call.exception_message = plain_name(name), self._redacted(message)
            self.trace.error_count += outcome is _RAISED

    def _read_batch(self, reader: Reader, fields: list[Any]) -> None:
        start, key, requested = fields
        dispatch, label = self._by_key.get(key, (None, None))
        if dispatch is None or label is None or not dispatch.receiver_calls:
            return
        first = dispatch.receiver_calls[0]
        first.start_ns = self._since(start)
        first.thread_switch_ns = max(start - requested, 0)
        reader.stack.append(Open(dispatch, label, first, is_batch=True))

    def _read_batch_end(self, reader: Reader, _fields: list[Any]) -> None:
        reader.done = True
        if reader.stack and reader.stack[-1].is_batch:
            reader.stack.pop()

    def _waited_for(self, call: ReceiverCall) -> list[Dispatch]:
        """Return what *call* sent itself, or handed over and waited for."""
        sent = self._sent.get(call.number, ())
        return [dispatch for dispatch in sent if not dispatch.is_detached]


def pass_cpu(reader: Reader, spent: int | None) -> None:
    """Count CPU time that is not the running receiver's own; None is unknown."""
    if reader.stack:
        opened = reader.stack[-1]
        if opened.cpu_inside_ns is not None:
            opened.cpu_inside_ns = None if spent is None else opened.cpu_inside_ns + spent


def interval(dispatch: Dispatch) -> tuple[int, int]:
    """Return when it began and ended, since the start of the trace."""
    return dispatch.start_ns, dispatch.start_ns + dispatch.duration_ns


def _by_opening(closing: tuple[Dispatch, str]) -> int:
    return closing[0].number


_METHODS: Final = {method.value: method for method in Method}
_OUTCOMES: Final = {outcome.value: outcome for outcome in Outcome}


def _outcome_of(exception_type: str) -> Outcome:
    """Return cancelled for the exceptions that mean so, else raised."""
    if exception_type in {"asyncio.exceptions.CancelledError", "GeneratorExit"}:
        return Outcome.CANCELLED
    return _RAISED
