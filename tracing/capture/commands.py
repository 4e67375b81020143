"""Command traces: a management command that is not part of anything else."""

from __future__ import annotations

from typing import Any, Final

from django.core.management.base import BaseCommand

from tracing import in_tests
from tracing.capture import context
from tracing.capture.context import UNRECORDED, LiveTrace, Stream, current, enter, leave
from tracing.capture.failures import failed
from tracing.capture.handling import around
from tracing.capture.inlining import Calls, Inline
from tracing.capture.sampling import decide
from tracing.capture.sanitize import error_text
from tracing.capture.spans import Kind

excluded: set[str] = set()
"""Names of commands that are no trace of their own."""


def command_name(command: Any) -> str:
    """Return the name a command is called by: the last part of its module."""
    return type(command).__module__.rpartition(".")[2]


def _begin(command: Any) -> LiveTrace | None:
    """Begin the trace of *command*; None if it has none, though then it may be unrecorded as a whole."""
    try:
        if in_tests.is_test_command(command):
            in_tests.mark_test_run()
        before = current()
        if around(before) is not None:
            return None
        name = command_name(command)
        if name in excluded:
            return None
        if not decide(Kind.COMMAND, name):
            # Else each dispatch of the command would be a trace of its own.
            enter(UNRECORDED)
            return None
        trace = LiveTrace(Kind.COMMAND, name, outer=before)
        context.begin(trace)
        return trace
    except Exception as error:
        failed("command", error)
        return None


def _end(trace: LiveTrace | None, before: Stream | None, raised: BaseException | None) -> None:
    try:
        if trace is None:
            if before is not UNRECORDED and current() is UNRECORDED:
                leave(before)
            return
        if raised is not None and not _is_success(raised):
            name, message = error_text(raised)
            trace.error = f"{name}: {message}"[:500]
        context.finish(trace)
    except Exception as error:
        failed("command", error)


def _is_success(raised: BaseException) -> bool:
    """Return whether *raised* ends the process without an error, as ``sys.exit()`` does."""
    return type(raised) is SystemExit and (raised.code is None or raised.code == 0)


class _Hook:
    """What ``BaseCommand.execute`` calls."""

    __slots__ = ()

    def begin(self, command: Any) -> tuple[LiveTrace | None, Stream | None]:
        """Open the trace of *command*; return it, None if it has none, and what was running before."""
        before = current()
        return _begin(command), before

    def end(self, begun: tuple[LiveTrace | None, Stream | None], output: Any) -> Any:
        """End the trace and return *output*, which the command returns."""
        _end(*begun, None)
        return output

    def fail(self, begun: tuple[LiveTrace | None, Stream | None], raised: BaseException) -> None:
        """End the trace of a command that has raised."""
        _end(*begun, raised)


_EXECUTE: Final = Calls(
    before="_tracing = hook.begin(self)",
    returned="hook.end(_tracing, _value)",
    raised="hook.fail(_tracing, _error)",
)


def inlines() -> list[Inline]:
    """Return what begins and ends the trace of a command."""
    return [Inline(BaseCommand.__dict__["execute"], _Hook(), _EXECUTE)]
