"""Command traces: a management command that is not part of anything else."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tracing.capture import context
from tracing.capture.context import LiveTrace, current
from tracing.capture.failures import failed
from tracing.capture.sampling import decide
from tracing.capture.sanitize import error_text
from tracing.capture.spans import Kind

if TYPE_CHECKING:
    from collections.abc import Callable

excluded: set[str] = set()
"""Names of commands that are no trace of their own."""


def command_name(command: Any) -> str:
    """Return the name a command is called by: the last part of its module."""
    return type(command).__module__.rpartition(".")[2]


def _begin(command: Any) -> LiveTrace | None:
    try:
        if current() is not None:
            return None
        name = command_name(command)
        if name in excluded or not decide(Kind.COMMAND, name):
            return None
        trace = LiveTrace(Kind.COMMAND, name)
        context.begin(trace)
        return trace
    except Exception as error:
        failed("command", error)
        return None


def _end(trace: LiveTrace | None, raised: BaseException | None) -> None:
    if trace is None:
        return
    try:
        if raised is not None:
            name, message = error_text(raised)
            trace.error = f"{name}: {message}"[:500]
        context.finish(trace)
    except Exception as error:
        failed("command", error)


def traced_execute(original: Callable[..., Any]) -> Callable[..., Any]:
    """Return a ``BaseCommand.execute`` under which a trace runs."""

    def execute(self: Any, *args: Any, **options: Any) -> Any:
        trace = _begin(self)
        raised: BaseException | None = None
        try:
            return original(self, *args, **options)
        except BaseException as error:
            raised = error
            # The frame is not Django's: it leaves no entry in the traceback.
            error.__traceback__ = error.__traceback__.tb_next if error.__traceback__ else None
            raise
        finally:
            _end(trace, raised)
            raised = None

    return execute
