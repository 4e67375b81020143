"""Receivers that run elsewhere: async ones, and sync ones of ``asend``."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Generator
from inspect import CO_ITERABLE_COROUTINE
from itertools import count
from types import CoroutineType
from typing import TYPE_CHECKING, Any, Final

from django.dispatch import Signal, dispatcher

from tracing.clocks import perf_counter_ns as clock
from tracing.instrumentation import propagation
from tracing.instrumentation.attributes.names import qualname_of
from tracing.instrumentation.attributes.values import error_text
from tracing.instrumentation.context import current, set_current
from tracing.instrumentation.failures import failed, is_own
from tracing.instrumentation.words import ASYNC_PHASE, BATCH, BATCH_END, CALL_END, RAISED, RETURNED
from tracing.spans.records import Outcome

if TYPE_CHECKING:
    from tracing.instrumentation.buffer import Buffer

RUNS_PARALLEL: Final = hasattr(dispatcher, "_run_parallel")
"""Whether this release of Django has its own way to run async receivers together."""
UNSEEN: Final = "<frozen tracing.instrumentation.dispatch.coroutines, for importlib._bootstrap>"
"""A file name whose frames ``warnings`` and ``logging`` skip when they count levels of the stack."""
# In a buffer stand plain strings and numbers only, no members of an enum: a tuple of such things is
# let go by the garbage collector, which would otherwise visit it in each collection until it is read.
BY_RETURN: Final = Outcome.RETURNED.value
BY_ERROR: Final = Outcome.RAISED.value
BY_CANCELLATION: Final = Outcome.CANCELLED.value
dispatch_keys = count(1)
"""Numbers of dispatches whose receivers run elsewhere: in another thread or task."""


def raised(error: BaseException, *, closes: bool) -> tuple[Any, ...]:
    """Return the item of a buffer for a receiver that raised."""
    try:
        return (RAISED, clock(), *error_text(error), closes)
    except Exception as failure:
        failed("raised", failure)
        return (RAISED, clock(), qualname_of(type(error)), "", closes)


def drop(buffer: Buffer) -> None:
    """Count a dispatch that does not fit into its buffer any more."""
    if buffer.trace is not None:
        buffer.trace.dropped += 1


def response_name(response: object) -> str:
    """Return the name of the type of what a receiver returned. Never raises."""
    try:
        return str(qualname_of(type(response)))
    except Exception as error:
        failed("response_name", error)
        return ""


def open_call(buffer: Buffer, place: tuple[str, int, int]) -> Buffer | None:
    """Return the buffer of an async receiver call, or None. Never raises."""
    try:
        trace = buffer.trace
        if trace is not None:
            own = trace.open_buffer(place)
            own.recorded.append(clock())  # type: ignore[union-attr]
            return own
    except Exception as error:
        failed("step", error)
    return None


def settle(own: Buffer | None, error: BaseException) -> None:
    """Record how the async receiver call of *own* ended. Never raises."""
    if own is None or own.recorded is None:
        return
    end = clock()
    outcome = (
        BY_CANCELLATION
        if issubclass(type(error), (asyncio.CancelledError, GeneratorExit))
        else BY_ERROR
    )
    try:
        own.recorded.extend((CALL_END, end, outcome, *error_text(error)))
    except Exception as failure:
        failed("settle", failure)


def watched(
    coroutine: CoroutineType[Any, Any, Any], buffer: Buffer, key: int, position: int
) -> Generator[Any, Any, Any]:
    """Await a receiver's coroutine step by step.

    Does what a ``TracedCoroutine`` does. A generator, since Python keeps the frame of who awaits one on the
    stack when an exception is thrown into it, which it does not for other objects: a receiver may
    warn with a stack level after what it awaited has failed.
    """
    before = current()
    own: Buffer | None = None
    advance: Callable[..., Any] = coroutine.send
    argument: Any = None
    try:
        own = open_call(buffer, ("call", key, position))
        inner = before if own is None else own
        while True:
            try:
                set_current(inner)
                value = advance(argument)
            finally:
                argument = None
                try:
                    inner = current()
                finally:
                    set_current(before)
            is_closed = False
            try:
                argument = yield value
            except GeneratorExit:
                is_closed = True
            except BaseException as error:
                # Of this frame, in which it was raised to get here.
                error.__traceback__ = error.__traceback__.tb_next  # type: ignore[union-attr]
                advance, argument = coroutine.throw, error
            else:
                advance = coroutine.send
            # Outside the except clauses: what is handled there would be the context of all errors.
            value = None
            if is_closed:
                coroutine.close()
                settle(own, GeneratorExit())
                return None
            before = current()
    except StopIteration as stop:
        if own is not None and own.recorded is not None:
            if stop.value is None:
                own.recorded.append(clock())
            else:
                own.recorded.extend((CALL_END, clock(), BY_RETURN, response_name(stop.value), ""))
        return stop.value
    except BaseException as error:
        settle(own, error)
        if error.__traceback__ is not None:
            error.__traceback__ = error.__traceback__.tb_next
        raise


watched.__code__ = watched.__code__.replace(
    co_filename=UNSEEN, co_flags=watched.__code__.co_flags | CO_ITERABLE_COROUTINE
)


def stepping(advance: Callable[..., Any]) -> Callable[..., Any]:
    """Return a method of ``TracedCoroutine`` that steps by *advance*.

    All in one frame: each receiver passes through here at least once, and each exception has one
    entry of its traceback to lose.
    """

    def step(self: TracedCoroutine, argument: Any = None, *more: Any) -> Any:
        before = current()
        inner = self.inner
        try:
            if inner is None:
                own = self.own = open_call(self.buffer, self.place)
                inner = before if own is None else own
            set_current(inner)
            if more:
                # The older form of throw(): type, value, traceback.
                return advance(self.coroutine, argument, *more)
            return advance(self.coroutine, argument)
        except StopIteration as stop:
            own = self.own
            if own is not None and own.recorded is not None:
                if stop.value is None:
                    own.recorded.append(clock())
                else:
                    own.recorded.extend(
                        (CALL_END, clock(), BY_RETURN, response_name(stop.value), "")
                    )
            raise
        except BaseException as error:
            settle(self.own, error)
            if error.__traceback__ is not None:
                # A bare raise adds no entry, so the error leaves as if this frame had not been there.
                error.__traceback__ = error.__traceback__.tb_next
            raise
        finally:
            try:
                self.inner = current()
            finally:
                set_current(before)

    # A receiver's warnings.warn(stacklevel=...) has to point where it points without this frame.
    step.__code__ = step.__code__.replace(co_filename=UNSEEN)
    return step


class TracedCoroutine(Coroutine[Any, Any, Any]):
    """A receiver's coroutine, watched step by step.

    Whatever the coroutine sends while it runs belongs to this call, also where Django lets several
    receivers share one context: the running buffer is set before each step and put back after it,
    so the context never holds it in between. Adds no frame to a traceback.
    """

    # No __getattr__: it would slow down every look at the fields, and those are many.
    __slots__ = (
        "__qualname__",
        "__weakref__",
        "buffer",
        "coroutine",
        "inner",
        "own",
        "place",
    )

    inner: Buffer | None
    """What is the running buffer inside. None before the first step."""

    place: tuple[str, int, int]
    """("call", key of the dispatch, position of the receiver)."""

    def __init__(
        self, coroutine: CoroutineType[Any, Any, Any], buffer: Buffer, key: int, position: int
    ) -> None:
        self.__qualname__ = coroutine.__qualname__
        self.coroutine = coroutine
        self.buffer = buffer
        self.place = ("call", key, position)
        self.inner = None
        self.own: Buffer | None = None

    send = stepping(CoroutineType.send)
    throw = stepping(CoroutineType.throw)
    __next__ = send

    def close(self) -> None:
        """Close the coroutine."""
        self.coroutine.close()

    def __await__(self) -> Generator[Any, Any, Any]:
        return self

    def __iter__(self) -> TracedCoroutine:
        return self

    # What asyncio and debuggers ask a coroutine.
    __name__ = property(lambda self: self.coroutine.__name__)
    cr_await = property(lambda self: self.coroutine.cr_await)
    cr_code = property(lambda self: self.coroutine.cr_code)
    cr_frame = property(lambda self: self.coroutine.cr_frame)
    cr_origin = property(lambda self: self.coroutine.cr_origin)
    cr_running = property(lambda self: self.coroutine.cr_running)
    cr_suspended = property(lambda self: self.coroutine.cr_suspended)


def stepped(awaitable: Any, buffer: Buffer | None, key: int, position: int) -> Any:
    """Return *awaitable* watched, or as it is where that cannot be done."""
    if buffer is None or type(awaitable) is not CoroutineType:
        return awaitable
    return watched(awaitable, buffer, key, position)


WATCH: Final[Callable[..., Any]] = watched if RUNS_PARALLEL else TracedCoroutine
"""Django 6.1 awaits the receivers in coroutines of its own; before, each is the coroutine of a task."""


def in_parallel(*awaitables: Awaitable[Any]) -> Awaitable[list[Any]]:
    """Return what runs *awaitables* together as this Django does."""
    if RUNS_PARALLEL:
        # Looked up each time, as Django itself does.
        return dispatcher._run_parallel(*awaitables)  # type: ignore[attr-defined,no-any-return]
    return asyncio.gather(*awaitables)


async def call_robust(
    signal: Signal,
    receiver: Any,
    merged: dict[str, Any],
    buffer: Buffer | None,
    key: int,
    position: int,
) -> Any:
    """Return what the async *receiver* returns, or its exception."""
    __tracebackhide__ = True
    try:
        response = await stepped(receiver(**merged), buffer, key, position)
    except Exception as err:
        signal._log_robust_failure(receiver, err)  # type: ignore[attr-defined]
        return err
    return response


def awaitables(
    signal: Signal,
    merged: dict[str, Any],
    receivers: list[Any],
    robust: bool,
    buffer: Buffer | None,
    key: int,
    first: int,
) -> Generator[Any, None, None]:
    """Yield what to await for each async receiver.

    *first* is the position of the first of them among all receivers of the dispatch.
    """
    position = first
    for receiver in receivers:
        if robust:
            yield call_robust(signal, receiver, merged, buffer, key, position)
        else:
            awaitable = receiver(**merged)
            if buffer is not None and type(awaitable) is CoroutineType:
                awaitable = WATCH(awaitable, buffer, key, position)
            yield awaitable
        position += 1


def begin_async_phase(events: list[Any]) -> int:
    """Record that a dispatch goes on to its async receivers; return its key."""
    key = next(dispatch_keys)
    events += (ASYNC_PHASE, clock(), key, asyncio._get_running_loop() is not None)
    return key


async def async_phase(
    signal: Signal,
    merged: dict[str, Any],
    receivers: list[Any],
    robust: bool,
    buffer: Buffer | None,
    key: int | None,
    first: int,
) -> Any:
    """Run async *receivers* together; return pairs of receiver and response.

    Without a *key* they are not recorded.
    """
    __tracebackhide__ = True
    recorder = None if key is None else buffer
    responses = await in_parallel(
        *awaitables(signal, merged, receivers, robust, recorder, key or 0, first)
    )
    return zip(receivers, responses, strict=False)


async def no_receivers() -> list[tuple[Any, Any]]:
    """Stand where Django awaits the sync receivers, with none."""
    return []


def call_batch(
    signal: Signal,
    receivers: list[Any],
    merged: dict[str, Any],
    robust: bool,
    buffer: Buffer | None,
    key: int,
    requested: int,
) -> list[tuple[Any, Any]]:
    """Call the sync *receivers* of an async dispatch, in their thread.

    *requested* is when the thread was asked for; what passes until it runs is the cost of the hop.
    """
    events = None
    before = current()
    responses = []
    try:
        try:
            if buffer is not None and buffer.trace is not None:
                own = buffer.trace.open_buffer(("batch", key, 0))
                events = own.recorded
                events += (BATCH, clock(), key, requested)  # type: ignore[operator]
                set_current(own)
        except Exception as error:
            failed("batch", error)
        for receiver in receivers:
            try:
                response = receiver(**merged)
            except BaseException as err:
                ordinary = issubclass(type(err), Exception)
                if events is not None:
                    try:
                        end = raised(err, closes=not (robust and ordinary))
                    except Exception as failure:
                        if not is_own(failure):
                            raise
                        closes = not (robust and ordinary)
                        end = (RAISED, clock(), qualname_of(type(err)), "", closes)
                    events += end
                if not (robust and ordinary):
                    __tracebackhide__ = True
                    raise
                signal._log_robust_failure(receiver, err)  # type: ignore[attr-defined]
                responses.append((receiver, err))
            else:
                responses.append((receiver, response))
                if events is None:
                    continue
                if response is None:
                    events.append(clock())
                else:
                    events += (RETURNED, clock(), qualname_of(type(response)))
    finally:
        if events is not None:
            try:
                events.append(BATCH_END)
            finally:
                set_current(before)
    return responses


propagation.own_types.add(TracedCoroutine)
for _function in (call_robust, no_receivers):
    propagation.own_code[id(_function.__code__)] = _function.__code__
