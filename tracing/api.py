"""The public functions of the package, for applications and their tests."""

from __future__ import annotations

import inspect
from asyncio import CancelledError
from collections.abc import Callable, Iterator
from contextlib import ContextDecorator, contextmanager
from functools import wraps
from types import MethodType
from typing import TYPE_CHECKING, Any, Self, TypeVar
from weakref import ref

from tracing import pipeline
from tracing.instrumentation import context, sampling
from tracing.instrumentation.attributes.values import attribute_text, error_text
from tracing.instrumentation.buffer import LiveTrace, Stream
from tracing.instrumentation.failures import failed
from tracing.instrumentation.patching import is_instrumented, uninstrument
from tracing.setup import instrument
from tracing.spans.records import Kind

if TYPE_CHECKING:
    from types import TracebackType

__all__ = [
    "current_span_id",
    "current_trace_id",
    "flush",
    "instrument",
    "is_instrumented",
    "pause",
    "resume",
    "suppress",
    "trace",
    "uninstrument",
]

F = TypeVar("F", bound=Callable[..., Any])


class _Exit:
    """The ``__exit__`` of a block, made anew for each ``with`` statement, which alone holds it.

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
        self.live: LiveTrace | None = None
        self._entered: list[Stream | None] = []
        """What was made the running stream for each block that is open."""
        self.leaving: ref[Any] | None = None
        """What the ``with`` statement holds that is about to begin."""

    @property
    def trace_id(self) -> str:
        """Return the id of the trace, empty while or where nothing is recorded."""
        return self.live.trace_id if self.live is not None else ""

    def __enter__(self) -> Self:
        stream: Stream | None = None
        try:
            self.live = None
            outer = context.running_stream()
            if is_instrumented() and not (outer is not None and outer.suppresses):
                stream = self._begin(outer)
            self._entered.append(stream)
        except BaseException as error:
            if stream is not None:
                _leave(stream, None)
            failed("trace", error)
            self._entered.append(None)
        return self

    def _begin(self, outer: Stream | None) -> Stream:
        """Begin the trace of a block within *outer*, or leave out what it sends; return its stream."""
        if not sampling.decide(self.kind, self.name):
            return context.leave_out("block", outer)
        parent = context.trace_around(outer)
        live = LiveTrace(
            self.kind,
            self.name,
            parent_trace_id=parent.trace_id if parent is not None else "",
            outer=outer,
        )
        live.attributes.update(self.attributes)
        live.holder, self.leaving = self.leaving, None
        context.begin(live)
        self.live = live
        return live.root

    def _exit(
        self,
        _exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None:
        """End the block; what interrupts that does not keep it from ending."""
        stream = self._entered[-1] if self._entered else None
        try:
            self._entered.pop()
            if stream is not None:
                _leave(stream, exc_value)
        except BaseException as error:
            if stream is not None:
                _leave(stream, None)
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


def _leave(stream: Stream, raised: BaseException | None) -> None:
    """End the block of *stream*. Idempotent."""
    live = stream.trace
    try:
        if live is not None and isinstance(raised, CancelledError):
            live.cancelled = True
        elif live is not None and raised is not None:
            live.error = describe_error(raised)
    finally:
        context.end(stream)


def describe_error(error: BaseException) -> str:
    """Return type and message of an exception as one line of at most 500 characters."""
    name, message = error_text(error)
    return f"{name}: {message}"[:500] if message else name[:500]


@contextmanager
def suppress() -> Iterator[None]:
    """Record nothing of what happens in the block."""
    stream: Stream | None = None
    try:
        stream = context.leave_out("suppressed", context.running_stream(), suppresses=True)
        yield
    finally:
        if stream is not None:
            context.close(stream)


def current_trace_id() -> str:
    """Return the id of the running trace, 32 hex digits; empty outside any."""
    live = context.current_trace()
    return live.trace_id if live is not None else ""


def current_span_id() -> str:
    """Return the id of the span that encloses the running trace's dispatches; empty outside any trace."""
    live = context.current_trace()
    return live.root_span_id if live is not None else ""


def flush(timeout: float = 5.0) -> bool:
    """Have everything that has ended so far written by all exporters.

    Args:
        timeout: Seconds to wait at most.

    Returns:
        Whether it was all written in time.
    """
    return pipeline.default.force_flush(timeout)


def pause() -> None:
    """Begin no new traces in this process, until ``resume()``. See ``manage.py tracing pause`` for all."""
    sampling.switch.paused = True


def resume() -> None:
    """Begin traces again."""
    sampling.switch.paused = False
