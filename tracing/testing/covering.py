"""The counting of receiver calls over a run of tests."""

from __future__ import annotations

import functools
import inspect
from contextlib import ExitStack
from types import MethodType
from typing import TYPE_CHECKING, Any, Final

from tracing.analysis.senders import Senders
from tracing.analysis.signal_coverage import Calls, Connected, connected
from tracing.analysis.wiring import ANY, all_signals
from tracing.conf import get_settings
from tracing.instrumentation.attributes.signal_names import signal_name
from tracing.instrumentation.connections import registry
from tracing.spans.records import Kind
from tracing.testing.capture import capture_dispatches

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tracing.testing.capture import Captured

_RAW_SIGNALS: Final = frozenset(
    {"django.db.models.signals.pre_save", "django.db.models.signals.post_save"}
)


class Counter:
    """A counter of the receiver calls of this process, test by test."""

    def __init__(self) -> None:
        import tracing  # noqa: PLC0415 - the package's own functions need all rooms below this one.

        self._calls = Calls()
        self._running = ExitStack()
        self._captured: Captured | None = None
        # As the settings say, though less is counted: tests that capture something meet it.
        self._undo = None if tracing.is_instrumented() else tracing.instrument()

    def begin(self, name: str) -> None:
        """Begin to count for the test *name*."""
        capture = capture_dispatches(name, kind=Kind.TEST, all_threads=True)
        self._captured = self._running.enter_context(capture)

    def end(self) -> None:
        """End what was begun, before the test rolls back its own transaction."""
        self._running.close()
        if self._captured is not None:
            for part in self._captured.parts:
                self._calls.add(part)
            self._captured = None

    def close(self) -> list[Connected]:
        """Return every connection of this process with its calls, and end."""
        self.end()
        try:
            return self._calls.of(_connections())
        finally:
            if self._undo is not None:
                self._undo()


def _connections() -> Iterator[Connected]:
    """Yield what is connected now, and lives."""
    senders = Senders()
    reads_raw = get_settings().capture_details
    for signal in all_signals():
        name = signal_name(signal)
        for entry in registry.entries_of(signal):
            receiver = registry.receiver_of(entry)
            if receiver is None or not registry.sender_lives(entry):
                continue
            label = registry.entry_label(entry, receiver)
            sender = ANY if label.any_sender else senders.name(entry[0][1], [entry])
            found = connected(name, sender, label)
            found.takes_raw = reads_raw and name in _RAW_SIGNALS and takes_raw(receiver)
            yield found


def takes_raw(receiver: Any) -> bool:
    """Return whether *receiver* asks for ``raw``, by argument or in its body."""
    for _ in range(10):
        if isinstance(receiver, functools.partial):
            receiver = receiver.func
        elif isinstance(receiver, MethodType):
            receiver = receiver.__func__
        elif inspect.isfunction(receiver):
            break
        else:
            receiver = getattr(type(receiver), "__call__", None)  # noqa: B004 - asked for itself.
    receiver = inspect.unwrap(receiver) if inspect.isfunction(receiver) else receiver
    code = getattr(receiver, "__code__", None)
    if code is None:
        return False
    arguments = code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]
    return "raw" in arguments or "raw" in code.co_consts
