"""Pipelines under SIGTERM and ``fork()``."""

from __future__ import annotations

import os
import signal
import sys
import threading
from typing import TYPE_CHECKING

from tracing.instrumentation import failures
from tracing.pipeline.delivery import guard
from tracing.pipeline.worker import pipelines, worker_thread

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType

    from tracing.pipeline.queue import Pipeline


def flush_on_sigterm(pipeline: Pipeline) -> Callable[[], None]:
    """Have SIGTERM flush *pipeline* first; return what undoes that.

    A process that nobody taught to handle the signal still dies of it, with the same exit status.
    Where a handler was installed, that one decides; it only gets a flushed pipeline.  Nothing is
    installed outside the main thread, where Python allows no handlers, and where the signal is
    ignored or was taken by code that is not Python.
    """

    def undo() -> None:
        if signal.getsignal(signal.SIGTERM) is handle:
            signal.signal(signal.SIGTERM, previous)

    def handle(number: int, frame: FrameType | None) -> None:
        if callable(previous):
            # Usually a server's, which ends in peace and flushes at exit: do not hold it up.
            guard("SIGTERM", pipeline.force_flush, min(1.0, pipeline.options.exit_seconds))
            previous(number, frame)
            return
        guard("SIGTERM", pipeline.force_flush, pipeline.options.exit_seconds)
        # Nothing that runs at exit gets to say it.
        guard("SIGTERM", pipeline.warn_of_losses)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGTERM)

    if threading.current_thread() is not threading.main_thread():
        return lambda: None
    previous = signal.getsignal(signal.SIGTERM)
    if previous is None or previous is signal.SIG_IGN:
        return lambda: None
    try:
        signal.signal(signal.SIGTERM, handle)
    except ValueError as error:
        # A subinterpreter, whose main thread looks like that of the process.
        if not failures.is_own(error):
            raise
        return lambda: None
    return undo


def _after_fork_in_child() -> None:
    worker_thread.exporting = False
    for pipeline in tuple(pipelines):
        guard("fork", pipeline.after_fork)


def _before_fork() -> None:
    for pipeline in tuple(pipelines):
        guard("fork", pipeline.stop_for_fork)


def _after_fork_in_parent() -> None:
    for pipeline in tuple(pipelines):
        guard("fork", pipeline.go_on_after_fork)


os.register_at_fork(after_in_child=_after_fork_in_child)
if sys.version_info >= (3, 12):
    os.register_at_fork(before=_before_fork, after_in_parent=_after_fork_in_parent)
