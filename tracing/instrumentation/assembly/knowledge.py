"""The knowledge of a trace that only the process has that recorded it."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

from tracing.instrumentation.assembly.details import plain_name
from tracing.instrumentation.assembly.statements import normalised, quotes_text
from tracing.instrumentation.attributes.callsites import callsite
from tracing.instrumentation.attributes.names import MAX_NAME, exact, qualname_of
from tracing.instrumentation.attributes.redaction import (
    is_suspect,
    key_text,
    policy,
    redact_error,
    redact_path,
    redact_text,
)
from tracing.instrumentation.attributes.spoken import HIDDEN
from tracing.instrumentation.buffer import HOST
from tracing.instrumentation.connections.receiver_sets import find
from tracing.instrumentation.failures import failed
from tracing.instrumentation.process import identity
from tracing.spans.records import Callsite, Kind, Status, Trace

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import CodeType

    from tracing.instrumentation.buffer import ActiveTrace
    from tracing.instrumentation.connections.receiver_sets import ReceiverSet
    from tracing.instrumentation.database.transactions import Block
    from tracing.spans.records import Dispatch, ReceiverLabel

SERVER_ERROR: Final = 500
"""HTTP statuses from here on are failures of the application."""
UNREADABLE: Final = "(unreadable)"


class Costs:
    """Costs of recording on the traced thread, in ns; 0 until measured.

    ``tracing.instrumentation.overhead`` measures it, once per process.
    """

    __slots__ = ("call_ns", "dispatch_ns", "measured", "query_ns")

    def __init__(self) -> None:
        self.measured = False
        self.dispatch_ns = self.call_ns = self.query_ns = 0


costs: Final = Costs()


class Knowledge:
    """The knowledge of an active trace: its names, places and secrets."""

    _first_root: Dispatch | None = None

    def __init__(self, active: ActiveTrace) -> None:
        self.active = active
        self._costs = costs
        self._unreadable: dict[tuple[str, str], int] = {}
        """How often something could not be read, by what it was and why."""
        self._mysql: dict[str, bool] = {}
        """Whether double quotes hold text, by the alias of the database."""

    def _note_unreadable(self, what: str, error: Exception) -> None:
        """Count something that could not be read, which the trace tells of."""
        failed("assembly", error)
        key = what, exact(qualname_of(type(error)))[:MAX_NAME]
        self._unreadable[key] = self._unreadable.get(key, 0) + 1

    _receiver_set = staticmethod(find)
    _key_text = staticmethod(key_text)

    def _label(self, label: ReceiverLabel) -> ReceiverLabel:
        return label

    def _block(self, block: Block | None) -> Block | None:
        return block

    def _normalised(self, alias: str, statement: str) -> str:
        """Return *statement* without values."""
        mysql = self._mysql.get(alias)
        if mysql is None:
            mysql = self._mysql[alias] = quotes_text(alias)
        return normalised(statement, mysql)

    def _function(self, code: CodeType) -> Callsite:
        """Return where the function of *code* is defined."""
        return Callsite(
            os.path.abspath(code.co_filename),
            code.co_firstlineno,
            exact(code.co_qualname)[:MAX_NAME],
        )

    def _redacted(self, text: str, redact: Callable[[str], str] = redact_text) -> str:
        """Return *text* without its secrets; hidden if they cannot be told."""
        try:
            return redact(text)
        except Exception as error:
            self._note_unreadable("a text", error)
            return HIDDEN

    def _redacted_name(self, name: str) -> str:
        """Return the same of a name, which others have as well."""
        try:
            return self._redacted(name) if is_suspect(name) else name
        except Exception as error:
            self._note_unreadable("a text", error)
            return HIDDEN

    def _signal(self, label: ReceiverSet) -> str:
        """Return the path of a signal, looked for in all that is loaded."""
        try:
            return label.signal
        except Exception as error:
            self._note_unreadable("the name of a signal", error)
            return UNREADABLE

    def _site(self, code: CodeType | None, instruction: int) -> Callsite | None:
        """Return file, line and function of *code*, or None."""
        if code is None:
            return None
        try:
            return callsite(code, instruction)
        except Exception as error:
            self._note_unreadable("a callsite", error)
            return None

    def _head(self, *, final: bool) -> Trace:
        """Return what is known of the trace without reading its buffers."""
        active = self.active
        return Trace(
            trace_id=active.trace_id,
            root_span_id=active.root_span_id,
            kind=active.kind,
            name=self._name(),
            started_ns=active.started_ns,
            duration_ns=active.duration_ns(),
            status=_status(active, final=final),
            parent_span_id=active.parent_span_id,
            parent_trace_id=active.parent_trace_id,
            http_method=plain_name(active.http_method),
            http_path=self._path(),
            http_status=active.http_status,
            arrival_key=active.arrival_key,
            redirect_key=active.redirect_key,
            user_id=plain_name(active.user_id),
            host=HOST,
            process=identity.pid,
            thread=self._redacted_name(plain_name(active.thread)),
            release=plain_name(identity.release),
            error=self._redacted(exact(active.error), redact_error) if active.error else "",
            attributes=self._attributes() if active.attributes else {},
            dropped_count=active.dropped,
            left_out_count=active.left_out,
        )

    def _attributes(self) -> dict[str, str]:
        """Return the attributes of the trace without their secrets."""
        return {
            exact(name)[:MAX_NAME]: HIDDEN
            if policy.is_sensitive(exact(name))
            else self._redacted(exact(text))
            for name, text in self.active.attributes.items()
        }

    def _path(self) -> str:
        """Return the path of the request without what may be a token."""
        active = self.active
        path = exact(active.http_path)
        return path if active.is_routed or not path else self._redacted(path, _read_path)

    def _name(self) -> str:
        active = self.active
        name = exact(active.name)
        if active.kind is Kind.DISPATCH and not active.name and self._first_root is not None:
            signal = self._first_root.signal.rpartition(".")[2]
            return f"{signal} {self._first_root.sender}"[:MAX_NAME]
        return self._redacted_name(name[:MAX_NAME])


def _status(active: ActiveTrace, *, final: bool) -> Status:
    if not final:
        return Status.RUNNING
    if active.http_status is not None and active.http_status >= SERVER_ERROR:
        return Status.ERROR
    if active.cancelled:
        return Status.CANCELLED
    return Status.ERROR if active.error else Status.OK


def _read_path(path: str) -> str:
    """Return an unmatched path without what may be a token."""
    return redact_path(path, None, ())
