"""The public functions of the package, for applications and their tests."""

from __future__ import annotations

import inspect
from asyncio import CancelledError
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ContextDecorator, contextmanager
from functools import wraps
from types import MethodType
from typing import TYPE_CHECKING, Any, Self, TypeVar
from weakref import ref

from tracing import pipeline
from tracing.instrumentation import context, sampling
from tracing.instrumentation.attributes.values import attribute_text, error_text
from tracing.instrumentation.buffer import ActiveTrace, Buffer
from tracing.instrumentation.failures import failed
from tracing.instrumentation.patching import is_instrumented, uninstrument
from tracing.setup import instrument
from tracing.spans.records import Kind

if TYPE_CHECKING:
    from types import TracebackType

    from tracing.analysis.line_profile import ReceiverProfile

__all__ = [
    "current_span_id",
    "current_trace_id",
    "flush",
    "instrument",
    "is_instrumented",
    "pause",
    "profile",
    "resume",
    "suppress",
    "trace",
    "uninstrument",
    "why_not",
]

F = TypeVar("F", bound=Callable[..., Any])


class _Exit:
    """The ``__exit__`` of a block, made anew for each ``with`` statement.

    Where that is gone the block has been left, also if somebody interrupted before a word of ours ran.
    """

    def __init__(self, function: Callable[..., None]) -> None:
        self._function = function

    def __get__(self, block: trace | None, owner: type | None = None) -> Callable[..., None]:
        if block is None:
            return self._function
        method = MethodType(self._function, block)
        block.leaving = ref(method)
        return method


class trace(ContextDecorator):  # noqa: N801 - a verb where it is used.
    """Record a block, or each call of a function, as a trace of its own.

    Inside another trace it is a trace too, which knows the one around it.

    Args:
        name: What the viewer calls it.
        kind: ``block``, or ``task``, ``command``, ``test`` for what is one.
        attributes: Facts about it, kept as short text: plain values as they are, others by their type;
            under a name like ``password`` none.

    Example:
        with tracing.trace("import prices", supplier="ACME"):
            ...
    """

    def __init__(
        self, name: str, /, *, kind: Kind | str = Kind.BLOCK, **attributes: object
    ) -> None:
        self.name = name
        self.kind = Kind(kind)
        self.attributes = {key: attribute_text(key, value) for key, value in attributes.items()}
        self.active: ActiveTrace | None = None
        self._entered: list[Buffer | None] = []
        """What was made the running buffer for each block that is open."""
        self.leaving: ref[Any] | None = None
        """What the ``with`` statement holds that is about to begin."""

    @property
    def trace_id(self) -> str:
        """Return the id of the trace, empty while or where nothing is recorded."""
        return self.active.trace_id if self.active is not None else ""

    def __enter__(self) -> Self:
        buffer: Buffer | None = None
        try:
            self.active = None
            outer = context.running_buffer()
            if is_instrumented() and not (outer is not None and outer.suppresses):
                buffer = self._begin(outer)
            self._entered.append(buffer)
        except BaseException as error:
            if buffer is not None:
                _leave(buffer, None)
            failed("trace", error)
            self._entered.append(None)
        return self

    def _begin(self, outer: Buffer | None) -> Buffer:
        """Begin the trace of a block within *outer*; return its buffer."""
        if not sampling.decide(self.kind, self.name):
            return context.leave_out("block", outer)
        parent = context.trace_around(outer)
        active = ActiveTrace(
            self.kind,
            self.name,
            parent_trace_id=parent.trace_id if parent is not None else "",
            outer=outer,
        )
        active.attributes.update(self.attributes)
        active.holder, self.leaving = self.leaving, None
        context.begin(active)
        self.active = active
        return active.root

    def _exit(
        self,
        _exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None:
        """End the block; what interrupts that does not keep it from ending."""
        buffer = self._entered[-1] if self._entered else None
        try:
            self._entered.pop()
            if buffer is not None:
                _leave(buffer, exc_value)
        except BaseException as error:
            if buffer is not None:
                _leave(buffer, None)
            failed("trace", error)

    __exit__ = _Exit(_exit)

    async def __aenter__(self) -> Self:
        return self.__enter__()

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._exit(exc_type, exc_value, traceback)

    def _recreate_cm(self) -> trace:
        return trace(self.name, kind=self.kind, **self.attributes)

    def __call__(self, function: F) -> F:
        """Return *function*, sync or async, with a trace of its own for each call."""
        if not inspect.iscoroutinefunction(function):
            return super().__call__(function)

        @wraps(function)
        async def traced(*args: Any, **kwargs: Any) -> Any:
            with self._recreate_cm():
                return await function(*args, **kwargs)

        return traced  # type: ignore[return-value]


def _leave(buffer: Buffer, raised: BaseException | None) -> None:
    """End the block of *buffer*. Idempotent."""
    active = buffer.trace
    try:
        if active is not None and isinstance(raised, CancelledError):
            active.cancelled = True
        elif active is not None and raised is not None:
            active.error = describe_error(raised)
    finally:
        context.end(buffer)


def describe_error(error: BaseException) -> str:
    """Return type and message of *error* in a line of up to 500 characters."""
    name, message = error_text(error)
    return f"{name}: {message}"[:500] if message else name[:500]


def suppress() -> AbstractContextManager[None]:
    """Record nothing of what happens in the block."""
    return leave_out("suppressed")


@contextmanager
def leave_out(reason: str) -> Iterator[None]:
    """Record nothing of what happens in the block, counted as *reason*."""
    buffer: Buffer | None = None
    try:
        outer = context.running_buffer()
        buffer = context.leave_out("suppressed", outer, suppresses=True, reason=reason)
        yield
    finally:
        if buffer is not None:
            try:
                context.close(buffer)
            except BaseException:
                context.close(buffer)  # Idempotent; somebody interrupts.
                raise


def current_trace_id() -> str:
    """Return the id of the running trace, 32 hex digits; empty outside any."""
    active = context.current_trace()
    return active.trace_id if active is not None else ""


def current_span_id() -> str:
    """Return the id of the running trace's root span; empty without one.

    Of the running receiver's span where those are current for OpenTelemetry.
    """
    active = context.current_trace()
    return context.span_id_of(active) if active is not None else ""


def flush(timeout: float = 5.0) -> bool:
    """Have everything that has ended so far written by all exporters.

    Args:
        timeout: Seconds to wait at most.

    Returns:
        Whether it was all written in time.
    """
    return pipeline.default.force_flush(timeout)


def pause() -> None:
    """Begin no new traces in this process, until ``resume()``.

    ``manage.py tracing pause`` does so for all.
    """
    sampling.switch.paused = True


def resume() -> None:
    """Begin traces again."""
    sampling.switch.paused = False


def why_not(
    receiver: str, *, signal: str = "", sender: str = "", trace: str = ""
) -> dict[str, Any]:
    """Return why *receiver* was not called, or that it was.

    Args:
        receiver: Its dotted path, or the end of it.
        signal: Dotted path of a signal or its end; empty for any.
        sender: As ``orders.Order``; empty for any.
        trace: Id of a trace, which is looked at with what is inside it; empty for the newest.

    Raises:
        LookupError: There is no such receiver or trace, or several receivers are called so.
    """
    from tracing.analysis.why_not.words import as_dict
    from tracing.store.answers import Wanted, why_not_called
    from tracing.store.traces import called

    flush()
    found = called(trace, 1) if trace else [None]
    if not found:
        raise LookupError(f"There is no trace {trace}.")
    return as_dict(why_not_called(Wanted(receiver, signal, sender, found[0])))


def profile(receiver: str) -> ReceiverProfile:
    """Return a context manager that times the lines of *receiver*.

    ``with tracing.profile("make_sale") as profile: …``, then ``print(profile)``. For development.

    Args:
        receiver: The dotted path of a connected receiver, or the end of it.

    Raises:
        LookupError: No connected receiver is called so, or several are.
        RuntimeError: Python is older than 3.12, which has ``sys.monitoring``.
    """
    from tracing.analysis.line_profile import ReceiverProfile

    return ReceiverProfile(receiver)
