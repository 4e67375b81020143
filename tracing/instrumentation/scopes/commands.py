"""Command traces: a management command that is not part of anything else."""

from __future__ import annotations

from typing import Any, Final

from django.core.management.base import BaseCommand

from tracing.instrumentation import context, in_tests
from tracing.instrumentation.attributes.values import error_text
from tracing.instrumentation.buffer import ActiveTrace, Buffer
from tracing.instrumentation.failures import failed
from tracing.instrumentation.inlining import Calls, Inline
from tracing.instrumentation.sampling import decide
from tracing.instrumentation.scopes.handling import around
from tracing.spans.records import Kind

excluded: set[str] = set()
"""Names of commands that are no trace of their own."""


def command_name(command: Any) -> str:
    """Return the name a command is called by: the last part of its module."""
    return type(command).__module__.rpartition(".")[2]


def _begin(command: Any) -> Buffer | None:
    """Begin the trace of *command*; None if it is part of another."""
    try:
        if in_tests.is_test_command(command):
            in_tests.mark_test_run()
        before = context.running_buffer()
        if around(before) is not None:
            return None
        name = command_name(command)
        if name in excluded:
            return None
        if not decide(Kind.COMMAND, name):
            # Else each dispatch of the command would be a trace of its own.
            return context.leave_out("command", before)
        trace = ActiveTrace(Kind.COMMAND, name, outer=before)
        context.begin(trace)
        return trace.root
    except Exception as error:
        failed("command", error)
        return None


def _end(buffer: Buffer | None, raised: BaseException | None) -> None:
    """End what ``_begin`` began. Idempotent."""
    if buffer is None:
        return
    try:
        try:
            if raised is not None and buffer.trace is not None and not _is_success(raised):
                name, message = error_text(raised)
                buffer.trace.error = f"{name}: {message}"[:500]
        finally:
            context.end(buffer)
    except Exception as error:
        failed("command", error)


def _is_success(raised: BaseException) -> bool:
    """Return whether *raised* ends the process well, as ``sys.exit()``."""
    return type(raised) is SystemExit and (raised.code is None or raised.code == 0)


class _Hook:
    """The hooks in ``BaseCommand.execute``."""

    __slots__ = ()

    begin = staticmethod(_begin)

    def end(self, buffer: Buffer | None, output: Any) -> Any:
        """End the trace and return *output*, which the command returns."""
        _end(buffer, None)
        return output

    fail = staticmethod(_end)


_EXECUTE: Final = Calls(
    before="_tracing = hook.begin(self)",
    returned="hook.end(_tracing, _value)",
    raised="hook.fail(_tracing, _error)",
)


def inlines() -> list[Inline]:
    """Return what begins and ends the trace of a command."""
    return [Inline(BaseCommand.__dict__["execute"], _Hook(), _EXECUTE)]
