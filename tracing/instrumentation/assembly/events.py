"""Reading: queries, transactions, callbacks, side effects and others."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from tracing.instrumentation.assembly.dispatches import Dispatches, pass_cpu
from tracing.instrumentation.assembly.state import Open, Reader, Registered, set_block
from tracing.instrumentation.attributes.arguments import M2M, NAMED, SAVE
from tracing.instrumentation.attributes.names import MAX_NAME
from tracing.instrumentation.connections.receiver_sets import NOTHING
from tracing.instrumentation.database.raw_sql import writes_past_receivers
from tracing.instrumentation.failures import failed
from tracing.instrumentation.words import (
    ASYNC_CLOSE,
    ASYNC_OPEN,
    ASYNC_PHASE,
    BATCH,
    BATCH_END,
    BYPASS,
    CALL_END,
    CALLBACK,
    CALLBACK_END,
    CONNECTION,
    CPU,
    CUT,
    EFFECT,
    LINK,
    LOST_RECEIVER,
    NUMBERS,
    QUERY,
    QUERY_CPU,
    RAISED,
    REGISTERED,
    RETURNED,
    SQL_WRITE,
    TRANSACTION,
    VALUES,
)
from tracing.spans.records import (
    Bypass,
    CallbackQueries,
    ConnectionChange,
    LostReceiver,
    Method,
    ReceiverCall,
    SideEffect,
    SilentWrite,
    TransactionOutcome,
)

if TYPE_CHECKING:
    from collections.abc import Callable


MOST_SILENT: Final = 50
"""Kinds of writes told of one segment that sent nothing for want of receivers."""


class Events(Dispatches):
    """The reading of all that is no dispatch."""

    def _read_query(self, reader: Reader, fields: list[Any]) -> None:
        start, end, alias, statement = fields
        self.trace.query_count += 1
        self.trace.query_ns += end - start
        opened = reader.stack[-1] if reader.stack else None
        if opened is not None and opened.dispatch is None:
            self._read_query_of_callback(reader, opened, end - start, alias, statement)
            return
        call = self._running_call(reader)
        if call is not None:
            call.query_count += 1
            call.query_ns += end - start
            if statement:
                self._count_statement(call, alias, statement, end - start)

    def _count_statement(
        self,
        asking: ReceiverCall | CallbackQueries,
        alias: str,
        statement: str,
        nanoseconds: int,
    ) -> None:
        known = self._statements.get(id(asking))
        if known is None:
            known = self._statements[id(asking)] = (asking, {})
        counted = known[1].setdefault(self._normalised(alias, statement), [0, 0])
        counted[0] += 1
        counted[1] += nanoseconds

    def _read_query_of_callback(
        self,
        reader: Reader,
        opened: Open,
        nanoseconds: int,
        alias: str,
        statement: str | None,
    ) -> None:
        """Count a query for the call that waits for the running callback.

        The call that registered it has mostly returned: what it left for the commit is not its own.
        """
        waiting = self._waiting_call(reader)
        if waiting is not None:
            waiting.query_count += 1
            waiting.query_ns += nanoseconds
        if not statement:
            return
        registered_in = opened.call
        if opened.is_link and registered_in is not None:
            asked = self._asked_later.get(registered_in.number)
            if asked is None:
                asked = CallbackQueries(registered_in.number, registered_in.receiver)
                self._asked_later[registered_in.number] = asked
            self._count_statement(asked, alias, statement, nanoseconds)
        elif waiting is not None:
            self._count_statement(waiting, alias, statement, nanoseconds)

    def _waiting_call(self, reader: Reader) -> ReceiverCall | None:
        """Return the receiver call inside which the running callbacks run."""
        for opened in reversed(reader.stack):
            if opened.dispatch is not None:
                return opened.call
        return self._call_around(reader)

    def _read_transaction(self, reader: Reader, fields: list[Any]) -> None:
        key, block = fields
        set_block(reader.blocks, key, self._block(block))

    def _read_values(self, reader: Reader, fields: list[Any]) -> None:
        key, values = fields
        if key:
            dispatch = self._by_key.get(key, (None,))[0]
        else:
            dispatch = reader.stack[-1].dispatch if reader.stack else None
        if dispatch is not None:
            dispatch.values = {
                name[:MAX_NAME]: self._redacted(text) for name, text in values.items()
            }

    def _read_link(self, reader: Reader, fields: list[Any]) -> None:
        number, place = fields
        call = self._running_call(reader)
        self._links.setdefault(number, []).append((place, call))
        if call is not None:
            self._awaited.add(call.number)

    def _read_bypass(self, reader: Reader, fields: list[Any]) -> None:
        start, operation, model, signals, receivers, rows, code, instruction = fields
        if not receivers:
            write = SilentWrite(operation, model, signals, self._site(code, instruction))
            if write not in self._silent and len(self._silent) < MOST_SILENT:
                self._silent.append(write)
            return
        call = self._running_call(reader)
        self._bypasses.append(
            Bypass(
                operation=operation,
                model=model,
                signals=signals,
                receivers=tuple(map(self._label, receivers)),
                rows=rows,
                start_ns=self._since(start),
                callsite=self._site(code, instruction),
                parent_number=call.number if call is not None else None,
            )
        )

    def _read_sql_write(self, reader: Reader, fields: list[Any]) -> None:
        """Tell what SQL of the application wrote past receivers."""
        start, sql, rows, code, instruction = fields
        try:
            writes = writes_past_receivers(sql)
        except Exception as error:
            failed("raw SQL", error)
            return
        for operation, model, signals, receivers in writes:
            bypass = [start, operation, model, signals, receivers, rows, code, instruction]
            self._read_bypass(reader, bypass)

    def _read_effect(self, reader: Reader, fields: list[Any]) -> None:
        start, kind, target, backend, in_on_commit, code, instruction, task_id = fields
        call = self._running_call(reader)
        at_once_on = next(
            (each.at_once_on for each in reversed(reader.stack) if each.at_once_on), ""
        )
        effect = SideEffect(
            kind=kind,
            target=self._redacted(target),
            start_ns=self._since(start),
            parent_number=call.number if call is not None else None,
            backend=backend,
            in_on_commit=in_on_commit,
            callsite=self._site(code, instruction),
            ran_at_once_on=at_once_on,
            task_id=self._redacted(task_id),
        )
        blocks = tuple(reader.blocks.values())
        if blocks:
            if reader.stack and reader.stack[-1].dispatch is not None:
                # By a receiver of what a callback sent, in a transaction that began after the commit.
                effect.in_on_commit = False
            effect.using = blocks[-1].alias
            effect.transaction = TransactionOutcome.UNKNOWN
            effect.transaction_depth = max(block.application_depth for block in blocks)
            self._blocks.append((effect, blocks))
        self._effects.append(effect)

    def _read_registered(self, reader: Reader, fields: list[Any]) -> None:
        number, alias, callback, code, instruction = fields
        call, block = self._running_call(reader), reader.blocks.get(alias)
        self._callbacks[number] = Registered(call, block, alias, callback, code, instruction)

    def _read_callback(self, reader: Reader, fields: list[Any]) -> None:
        _start, number, at_once_on = fields
        registered = self._callbacks.pop(number, None)
        registered_in = registered.call if registered is not None else None
        if registered_in is None:
            registered_in = self._running_call(reader)
        # The receiver whose own transaction ends inside its call waits for what it left to the end.
        waits = bool(at_once_on) or any(opened.call is registered_in for opened in reader.stack)
        opened = Open(None, NOTHING, registered_in, is_link=not waits)
        opened.at_once_on = at_once_on
        reader.stack.append(opened)

    def _read_callback_end(self, reader: Reader, _fields: list[Any]) -> None:
        while reader.stack:
            ended = reader.stack.pop()
            if ended.dispatch is None:
                if reader.stack:
                    # Of the call that waited it is time of dispatches, whoever registered them.
                    reader.stack[-1].nested_ns += ended.nested_ns
                    pass_cpu(reader, ended.cpu_inside_ns)
                return

    def _read_lost_receiver(self, _reader: Reader, fields: list[Any]) -> None:
        signal, sender, label, was_called = fields
        name = signal if type(signal) is str else signal.name
        self._lost.append(LostReceiver(name, sender, self._label(label), was_called))

    def _read_connection(self, reader: Reader, fields: list[Any]) -> None:
        start, change, signal, sender, label, code, instruction = fields
        call = self._running_call(reader)
        self._changes.append(
            ConnectionChange(
                change=change,
                signal=signal if type(signal) is str else signal.name,
                sender=sender,
                receiver=self._label(label),
                start_ns=self._since(start),
                parent_number=call.number if call is not None else None,
                callsite=self._site(code, instruction),
            )
        )


READ: Final[dict[str, tuple[int, Callable[[Events, Reader, list[Any]], None]]]] = {
    Method.SEND.value: (5, Events._read_send),
    Method.SEND_ROBUST.value: (5, Events._read_send_robust),
    RETURNED: (3, Events._read_returned),
    RAISED: (5, Events._read_raised),
    CUT: (4, Events._read_cut),
    NUMBERS: (3, Events._read_numbers),
    CPU: (2, Events._read_cpu),
    QUERY_CPU: (2, Events._read_query_cpu),
    QUERY: (5, Events._read_query),
    TRANSACTION: (3, Events._read_transaction),
    ASYNC_OPEN: (7, Events._read_async_open),
    ASYNC_PHASE: (4, Events._read_async_phase),
    ASYNC_CLOSE: (4, Events._read_async_close),
    BATCH: (4, Events._read_batch),
    BATCH_END: (1, Events._read_batch_end),
    CALL_END: (5, Events._read_call_end),
    VALUES: (3, Events._read_values),
    LINK: (3, Events._read_link),
    BYPASS: (9, Events._read_bypass),
    EFFECT: (9, Events._read_effect),
    SQL_WRITE: (6, Events._read_sql_write),
    REGISTERED: (6, Events._read_registered),
    CALLBACK: (4, Events._read_callback),
    CALLBACK_END: (1, Events._read_callback_end),
    LOST_RECEIVER: (5, Events._read_lost_receiver),
    CONNECTION: (8, Events._read_connection),
}
"""Of each word of a buffer, how many values it stands for with its fields, and how they are read."""

OPENINGS: Final = frozenset({Method.SEND.value, Method.SEND_ROBUST.value, ASYNC_OPEN})
"""Words whose fields are followed by details."""
DETAILS: Final = {None: 1, SAVE: 6, M2M: 7, NAMED: 4}
"""How many values details are, by the first of them."""
