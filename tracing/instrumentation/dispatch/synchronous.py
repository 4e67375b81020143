"""The timed send loops: what ``Signal.send`` and its three siblings are while tracing is installed.

Each does what Django's method does, in the same order, with the same objects, and takes the time on
the way: one reading when a dispatch opens and one as each receiver returns, the end of one being
the start of the next. Receivers are called from the same depth of the stack as by Django; a frame that
an exception leaves says ``__tracebackhide__``, so that pytest shows the application's frames only.

Where the loop cannot know what Django's method would do (a named argument called ``signal``, a
failure of our own) Django's own method runs instead.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Generator
from functools import partial
from inspect import CO_ITERABLE_COROUTINE
from itertools import count
from sys import _getframe as getframe
from threading import get_ident
from time import perf_counter_ns as clock
from types import CoroutineType, FrameType, MethodType
from typing import Any, Final

# By its own name: a test of the application may watch ``weakref.ref``, as one of Django's does.
from weakref import ref

from asgiref.sync import async_to_sync, sync_to_async
from django.core.handlers.asgi import ASGIHandler
from django.core.signals import request_finished, request_started
from django.db.models.signals import post_init, pre_init
from django.dispatch import Signal, dispatcher

from tracing.instrumentation import propagation
from tracing.instrumentation.attributes.callsites import application_frame, is_library
from tracing.instrumentation.attributes.names import qualname_of
from tracing.instrumentation.attributes.values import Redaction, error_text
from tracing.instrumentation.boundaries import begin as begin_boundary
from tracing.instrumentation.boundaries import both, boundaries
from tracing.instrumentation.connections.neighbours import (
    STOCK_LIVE_RECEIVERS,
    own_wiring,
    represent,
    stands_for,
)
from tracing.instrumentation.connections.receivers import (
    UNFINISHED,
    PlainWiring,
    ResolvedWiring,
    Wiring,
    cached_wiring,
    plain_wiring,
)
from tracing.instrumentation.context import (
    ASYNC_CLOSE,
    ASYNC_OPEN,
    ASYNC_PHASE,
    BATCH,
    BATCH_END,
    CALL_END,
    CUT,
    NO_DETAILS,
    RAISED,
    RETURNED,
    STREAM_LIMIT,
    VALUES,
    Stream,
    current,
    make_current,
)
from tracing.instrumentation.dispatch.orphans import Unheard, count_unheard, known, pass_unheard
from tracing.instrumentation.failures import failed, is_own
from tracing.instrumentation.scopes import requests
from tracing.instrumentation.scopes.standalone import begin_lone, finish_lone, record_elsewhere
from tracing.spans.records import Method, Outcome

NO_RECEIVERS: Final = dispatcher.NO_RECEIVERS
RUNS_PARALLEL: Final = hasattr(dispatcher, "_run_parallel")
"""Whether this release of Django has its own way to run async receivers together."""
UNKNOWN: Final = object()
"""Stands for what could not be looked up."""
UNSEEN: Final = "<frozen tracing.instrumentation.dispatch.synchronous, for importlib._bootstrap>"
"""A file name whose frames ``warnings`` and ``logging`` skip when they count levels of the stack."""
# In a stream stand plain strings and numbers only, no members of an enum: a tuple of such things is
# let go by the garbage collector, which would otherwise visit it in each collection until it is read.
BY_RETURN: Final = Outcome.RETURNED.value
BY_ERROR: Final = Outcome.RAISED.value
BY_CANCELLATION: Final = Outcome.CANCELLED.value
_keys = count(1)
"""Numbers of dispatches whose receivers run elsewhere: in another thread or task."""

Resolved = tuple[Wiring | PlainWiring | ResolvedWiring | None, list[Any], list[Any]]


class Options:
    """What the loops record besides structure, times and outcomes.

    Args:
        callsite: The frame of the application that sent the signal.
        details: Instance, save and m2m details, names of the other named arguments.
        values: How to redact the values of named arguments; None to leave them out.
    """

    __slots__ = ("callsite", "details", "values")

    def __init__(
        self, *, callsite: bool = True, details: bool = True, values: Redaction | None = None
    ) -> None:
        self.callsite = callsite
        self.details = details
        self.values = values


def is_overridden(signal: Signal) -> bool:
    """Return whether somebody else decides which receivers *signal* has: a subclass or a patch."""
    resolving = signal._live_receivers
    return type(resolving) is not MethodType or resolving.__func__ is not STOCK_LIVE_RECEIVERS


def resolve(signal: Signal, sender: Any) -> Resolved:
    """Return (wiring, live sync receivers, live async receivers), as ``_live_receivers`` would."""
    wiring: Any
    if signal.use_caching:
        wiring = None if signal._dead_receivers else signal.sender_receivers_cache.get(sender)  # type: ignore[attr-defined]
        if is_unheard(wiring):
            return None, [], []
        if type(wiring) is not Wiring or wiring.derefs is UNFINISHED:
            wiring = cached_wiring(signal, sender)
            if wiring is None:
                return None, [], []
    else:
        wiring = signal.sender_receivers_cache.get(-id(sender))
        if (
            type(wiring) is not PlainWiring
            or signal._dead_receivers  # type: ignore[attr-defined]
            or wiring.sender() is not sender
            or wiring.connections != signal.receivers
        ):
            return plain_wiring(signal, sender)
    live = [deref() for deref in wiring.derefs]
    live_async = [deref() for deref in wiring.async_derefs]
    for receiver in live:
        if receiver is None:
            return resolve_live(signal, sender)
    for receiver in live_async:
        if receiver is None:
            return resolve_live(signal, sender)
    return wiring, live, live_async


def is_unheard(cached: Any) -> bool:
    """Return whether Django's cache says of a sender that nobody listens to it."""
    return cached is NO_RECEIVERS or type(cached) is Unheard


def resolve_live(signal: Signal, sender: Any) -> Resolved:
    """Return the same from the signal's own ``_live_receivers``, whoever wrote it."""
    live, live_async = signal._live_receivers(sender)
    return labelled(signal, sender, live, live_async), live, live_async


def labelled(
    signal: Signal, sender: Any, live: list[Any], live_async: list[Any]
) -> PlainWiring | ResolvedWiring | None:
    """Return the wiring of receivers that somebody else resolved; None if it cannot be had.

    That of the receivers that are connected, if it is these that were handed out, wrapped or not.
    """
    try:
        own = own_wiring(signal, sender)
        if (
            own is not None
            and represent(live, own.derefs)
            and represent(live_async, own.async_derefs)
        ):
            return own
        return ResolvedWiring(signal, sender, live, live_async, own, stands_for)
    except Exception as error:
        failed("labelled", error)
        return None


def raised(error: BaseException, *, closes: bool) -> tuple[Any, ...]:
    """Return the item of a stream for a receiver that raised."""
    return (RAISED, clock(), *error_text(error), closes)


def drop(stream: Stream) -> None:
    """Count a dispatch that does not fit into its stream any more."""
    if stream.trace is not None:
        stream.trace.dropped += 1


def sync_sender(
    method: Method, original: Callable[..., Any], options: Options
) -> Callable[..., list[tuple[Any, Any]]]:
    """Return the timed ``send`` or ``send_robust`` that stands in for *original*."""
    robust = method is Method.SEND_ROBUST
    word = method.value
    callsite, details, values = options.callsite, options.details, options.values

    def send(self: Signal, sender: Any, **named: Any) -> list[tuple[Any, Any]]:
        if not self.receivers:
            if self is pre_init or self is post_init:
                return []  # Two for each instance of a model: nothing may be spent on them.
            stream = current()
            if stream is None:
                if self is request_started:
                    pass_unheard(self, sender, named)
            else:
                counts = stream.unheard
                if counts is not None:
                    try:
                        owner, cell = known[id(self)][id(sender)].tally
                        if owner is counts:
                            cell[0] += 1
                            return []
                    except RecursionError:
                        pass
                    except KeyError as error:
                        # The first look needs no stack: the end of it is the application's to meet.
                        if (
                            type(error) is not KeyError
                            or not error.args
                            or error.__traceback__.tb_next is not None  # type: ignore[union-attr]
                        ) and not is_own(error):
                            raise
                    try:
                        pass_unheard(self, sender, named)
                    except RecursionError:
                        pass  # The end of the stack is the application's to meet.
                elif self is request_started or self is request_finished:
                    pass_unheard(self, sender, named)
            return []
        wiring: Any
        if self.use_caching:
            try:
                # What WeakKeyDictionary.get() does, without its frame.
                wiring = self.sender_receivers_cache.data.get(ref(sender))  # type: ignore[attr-defined]
            except Exception as error:
                if type(error) is not RecursionError and not is_own(error):
                    raise
                wiring = UNKNOWN
            if wiring is UNKNOWN:
                # Not in the except clause: Django's error has nothing in its context.
                wiring = self.sender_receivers_cache.get(sender)
            if wiring is NO_RECEIVERS:
                if self is pre_init or self is post_init:
                    return []
                stream = current()
                if stream is not None and stream.unheard is not None:
                    try:
                        count_unheard(self, sender)
                    except RecursionError:
                        pass  # The end of the stack is the application's to meet.
                return []
            kind = type(wiring)
            if kind is not Wiring:
                if kind is Unheard:
                    stream = current()
                    if stream is not None:
                        counts = stream.unheard
                        if counts is not None:
                            owner, cell = wiring.tally
                            if owner is counts:
                                cell[0] += 1
                            else:
                                try:
                                    wiring.begin(counts)
                                except RecursionError:
                                    pass
                    return []
                wiring = None
        else:
            # First as Django asks, which raises for a sender that cannot be hashed.
            wiring = self.sender_receivers_cache.get(sender)
            wiring = self.sender_receivers_cache.get(-id(sender))
            try:
                if (
                    type(wiring) is not PlainWiring
                    or wiring.sender() is not sender
                    or wiring.connections != self.receivers
                ):
                    wiring = None
            except Exception as error:
                if type(error) is not RecursionError and not is_own(error):
                    raise
                wiring = None
        if "signal" in named:
            return original(self, sender, **named)  # type: ignore[no-any-return]
        merged = {"signal": self, "sender": sender, **named}
        live = []
        live_async = None
        resolving = self._live_receivers
        if (
            wiring is not None
            # The type is asked, too: a proxy answers for what it wraps.
            and type(resolving) is MethodType
            and resolving.__func__ is STOCK_LIVE_RECEIVERS
            and not self._dead_receivers  # type: ignore[attr-defined]
        ):
            for deref in wiring.derefs:
                receiver = deref()
                if receiver is None:
                    wiring = None
                    break
                live.append(receiver)
            else:
                if wiring.async_derefs:
                    wiring = None
        else:
            wiring = None
        after: Callable[[Stream | None], None] | None = None
        if wiring is None:
            if type(resolving) is not MethodType or resolving.__func__ is not STOCK_LIVE_RECEIVERS:
                live, live_async = self._live_receivers(sender)
                try:
                    wiring = labelled(self, sender, live, live_async)
                except RecursionError:
                    wiring = None
            else:
                wiring = UNKNOWN
                try:
                    wiring, live, live_async = resolve(self, sender)
                except Exception as error:
                    if type(error) is not RecursionError and not is_own(error):
                        raise
                if wiring is UNKNOWN:
                    # Also where Django raises something for a sender that it cannot look up. Not in
                    # the except clause: our failure is not the context of what receivers raise.
                    wiring = None
                    live, live_async = self._live_receivers(sender)
            if not live and not live_async:
                try:
                    pass_unheard(self, sender, named)
                except RecursionError:
                    pass  # The end of the stack is the application's to meet.
                return []
            if id(self) in boundaries:
                stream = None
                after = begin_boundary(self, named)

        responses = []
        opening: int | None = None
        end: Any
        try:
            if not self.use_caching:  # The signals of a request do not cache; most others do.
                if self is request_started:
                    requests.started(named)
                elif self is request_finished:
                    stream = None
                    after = requests.finished
            stream = current()
            events = stream.events if stream is not None else None
            if events is None and (stream is None or stream.ended):
                stream = None
                after = finish_lone if after is None else both(finish_lone, after)
                try:
                    stream = begin_lone(self)
                except RecursionError:
                    pass  # The end of the stack is the application's to meet.
                if stream is not None:
                    events = stream.events
            if events is not None:
                try:
                    if stream.ident != get_ident():  # type: ignore[union-attr]
                        stream, end = record_elsewhere(self, stream)  # type: ignore[arg-type]
                        if end is not None:
                            after = end
                        events = stream.events
                    if len(events) >= STREAM_LIMIT or wiring is None:  # type: ignore[arg-type]
                        drop(stream)  # type: ignore[arg-type]
                        events = None
                    else:
                        if callsite:
                            frame: Any = getframe(1)
                            code = frame.f_code
                            try:
                                while is_library[code.co_filename]:
                                    frame = frame.f_back
                                    code = frame.f_code
                            except (KeyError, AttributeError) as error:
                                if not is_own(error):
                                    raise
                                frame = application_frame(frame)
                                code = frame.f_code if frame is not None else None
                            instruction = 0 if frame is None else frame.f_lasti
                            frame = None
                        else:
                            code = None
                            instruction = 0
                        start = clock()
                        kept = wiring.details(sender, named) if details else NO_DETAILS
                        # Nothing is called between, so that nobody reads or interrupts half of it.
                        events += (word, start, wiring.number, code, instruction)  # type: ignore[operator]
                        events += kept
                        opening = start
                        if values is not None:
                            events += (VALUES, 0, values.named(named))
                except Exception as error:
                    try:
                        failed("opening", error)
                    except RecursionError:
                        pass
                    if opening is None:
                        events = None
            if events is None:
                for receiver in live:
                    try:
                        response = receiver(**merged)
                    except Exception as error:
                        if not robust:
                            __tracebackhide__ = True
                            raise
                        self._log_robust_failure(receiver, error)  # type: ignore[attr-defined]
                        responses.append((receiver, error))
                    else:
                        responses.append((receiver, response))
                if live_async:
                    responses.extend(
                        async_to_sync(async_phase)(self, merged, live_async, robust, None, 0, 0)
                    )
                return responses

            for receiver in live:
                try:
                    response = receiver(**merged)
                except Exception as error:
                    try:
                        end = raised(error, closes=not robust)
                    except Exception as failure:
                        if type(failure) is not RecursionError and not is_own(failure):
                            raise
                        end = (RAISED, clock(), qualname_of(type(error)), "", not robust)
                    events += end
                    if not robust:
                        opening = None
                        __tracebackhide__ = True
                        raise
                    # Fails, too, where Django names the receiver by an attribute that a partial lacks.
                    self._log_robust_failure(receiver, error)  # type: ignore[attr-defined]
                    responses.append((receiver, error))
                except BaseException as error:
                    try:
                        end = raised(error, closes=True)
                    except Exception as failure:
                        if type(failure) is not RecursionError and not is_own(failure):
                            raise
                        end = (RAISED, clock(), qualname_of(type(error)), "", True)
                    events += end
                    opening = None
                    __tracebackhide__ = True
                    raise
                else:
                    responses.append((receiver, response))
                    if response is None:
                        events.append(clock())
                    else:
                        events += (RETURNED, clock(), qualname_of(type(response)))
            if live_async:
                key = next(_keys)
                events += (ASYNC_PHASE, clock(), key, asyncio._get_running_loop() is not None)
                escaped = ""
                try:
                    responses.extend(
                        async_to_sync(async_phase)(
                            self, merged, live_async, robust, stream, key, len(live)
                        )
                    )
                except BaseException as error:
                    escaped = qualname_of(type(error))
                    __tracebackhide__ = True
                    raise
                finally:
                    events += (ASYNC_CLOSE, clock(), key, escaped)
                    opening = None
            return responses
        except BaseException as error:
            __tracebackhide__ = True
            if opening is not None:
                # Not by a receiver: somebody interrupts here, or Django's report of a failure failed.
                end = 0
                escaped = ""
                try:
                    end = clock()
                    escaped = qualname_of(type(error))
                finally:
                    # Nothing is called between, so that nobody can interrupt again.
                    events += (CUT, end, escaped, opening)  # type: ignore[operator]
            raise
        finally:
            if after is not None:
                try:
                    after(stream)
                except BaseException:
                    # Somebody interrupts: once more, what is done is passed over.
                    after(stream)
                    raise

    return send


def response_name(response: object) -> str:
    """Return the name of the type of what a receiver returned. Never raises."""
    try:
        return str(qualname_of(type(response)))
    except Exception as error:
        failed("response_name", error)
        return ""


def open_call(stream: Stream, place: tuple[str, int, int]) -> Stream | None:
    """Return the stream of the async receiver call at *place*; None if it is not recorded. Never raises."""
    try:
        trace = stream.trace
        if trace is not None:
            own = trace.open_stream(place)
            own.recorded.append(clock())  # type: ignore[union-attr]
            return own
    except Exception as error:
        failed("step", error)
    return None


def settle(own: Stream | None, error: BaseException) -> None:
    """Record that the async receiver call of *own* ended by *error*. Never raises."""
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
    coroutine: CoroutineType[Any, Any, Any], stream: Stream, key: int, position: int
) -> Generator[Any, Any, Any]:
    """Await a receiver's coroutine step by step, for a coroutine that awaits this.

    Does what a ``Stepped`` does. A generator, since Python keeps the frame of who awaits one on the
    stack when an exception is thrown into it, which it does not for other objects: a receiver may
    warn with a stack level after what it awaited has failed.
    """
    before = current()
    own: Stream | None = None
    advance: Callable[..., Any] = coroutine.send
    argument: Any = None
    try:
        own = open_call(stream, ("call", key, position))
        inner = before if own is None else own
        while True:
            try:
                make_current(inner)
                value = advance(argument)
            finally:
                argument = None
                try:
                    inner = current()
                finally:
                    make_current(before)
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
    """Return the method of a ``Stepped`` that takes the next step by *advance*.

    All in one frame: each receiver passes through here at least once, and each exception has one
    entry of its traceback to lose.
    """

    def step(self: Stepped, argument: Any = None, *more: Any) -> Any:
        before = current()
        inner = self.inner
        try:
            if inner is None:
                own = self.own = open_call(self.stream, self.place)
                inner = before if own is None else own
            make_current(inner)
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
                make_current(before)

    # A receiver's warnings.warn(stacklevel=...) has to point where it points without this frame.
    step.__code__ = step.__code__.replace(co_filename=UNSEEN)
    return step


class Stepped(Coroutine[Any, Any, Any]):
    """A receiver's coroutine, watched step by step.

    Whatever the coroutine sends while it runs belongs to this call, also where Django lets several
    receivers share one context: the running stream is set before each step and put back after it,
    so the context never holds it in between. Adds no frame to a traceback.
    """

    # No __getattr__: it would slow down every look at the fields, and those are many.
    __slots__ = (
        "__qualname__",
        "__weakref__",
        "coroutine",
        "inner",
        "own",
        "place",
        "stream",
    )

    inner: Stream | None
    """What is the running stream inside. None before the first step."""

    place: tuple[str, int, int]
    """("call", key of the dispatch, position of the receiver)."""

    def __init__(
        self, coroutine: CoroutineType[Any, Any, Any], stream: Stream, key: int, position: int
    ) -> None:
        self.__qualname__ = coroutine.__qualname__
        self.coroutine = coroutine
        self.stream = stream
        self.place = ("call", key, position)
        self.inner = None
        self.own: Stream | None = None

    send = stepping(CoroutineType.send)
    throw = stepping(CoroutineType.throw)
    __next__ = send

    def close(self) -> None:
        """Close the coroutine."""
        self.coroutine.close()

    def __await__(self) -> Generator[Any, Any, Any]:
        return self

    def __iter__(self) -> Stepped:
        return self

    # What asyncio and debuggers ask a coroutine.
    __name__ = property(lambda self: self.coroutine.__name__)
    cr_await = property(lambda self: self.coroutine.cr_await)
    cr_code = property(lambda self: self.coroutine.cr_code)
    cr_frame = property(lambda self: self.coroutine.cr_frame)
    cr_origin = property(lambda self: self.coroutine.cr_origin)
    cr_running = property(lambda self: self.coroutine.cr_running)
    cr_suspended = property(lambda self: self.coroutine.cr_suspended)


def stepped(awaitable: Any, stream: Stream | None, key: int, position: int) -> Any:
    """Return *awaitable* watched, or as it is where that cannot be done."""
    if stream is None or type(awaitable) is not CoroutineType:
        return awaitable
    return watched(awaitable, stream, key, position)


WATCH: Final[Callable[..., Any]] = watched if RUNS_PARALLEL else Stepped
"""Django 6.1 awaits the receivers in coroutines of its own; before, each is the coroutine of a task."""


def in_parallel(*awaitables: Awaitable[Any]) -> Awaitable[list[Any]]:
    """Return what runs *awaitables* together in the way of the installed Django."""
    if RUNS_PARALLEL:
        # Looked up each time, as Django itself does.
        return dispatcher._run_parallel(*awaitables)  # type: ignore[attr-defined,no-any-return]
    return asyncio.gather(*awaitables)


async def call_robust(
    signal: Signal,
    receiver: Any,
    merged: dict[str, Any],
    stream: Stream | None,
    key: int,
    position: int,
) -> Any:
    """Return what the async *receiver* returns, or the exception that it raises."""
    __tracebackhide__ = True
    try:
        response = await stepped(receiver(**merged), stream, key, position)
    except Exception as err:
        signal._log_robust_failure(receiver, err)  # type: ignore[attr-defined]
        return err
    return response


def awaitables(
    signal: Signal,
    merged: dict[str, Any],
    receivers: list[Any],
    robust: bool,
    stream: Stream | None,
    key: int,
    first: int,
) -> Generator[Any, None, None]:
    """Yield what to await for each async receiver.

    *first* is the position of the first of them among all receivers of the dispatch.
    """
    position = first
    for receiver in receivers:
        if robust:
            yield call_robust(signal, receiver, merged, stream, key, position)
        else:
            awaitable = receiver(**merged)
            if stream is not None and type(awaitable) is CoroutineType:
                awaitable = WATCH(awaitable, stream, key, position)
            yield awaitable
        position += 1


async def async_phase(
    signal: Signal,
    merged: dict[str, Any],
    receivers: list[Any],
    robust: bool,
    stream: Stream | None,
    key: int,
    first: int,
) -> Any:
    """Run async *receivers* together; return pairs of receiver and response."""
    __tracebackhide__ = True
    responses = await in_parallel(
        *awaitables(signal, merged, receivers, robust, stream, key, first)
    )
    return zip(receivers, responses, strict=False)


async def no_receivers() -> list[tuple[Any, Any]]:
    """Stand where Django awaits the sync receivers of a dispatch that has none."""
    return []


def call_batch(
    signal: Signal,
    receivers: list[Any],
    merged: dict[str, Any],
    robust: bool,
    stream: Stream | None,
    key: int,
    requested: int,
) -> list[tuple[Any, Any]]:
    """Call the sync *receivers* of an async dispatch, in the thread where they have to run.

    *requested* is when the thread was asked for; what passes until it runs is the cost of the hop.
    """
    events = None
    before = current()
    responses = []
    try:
        try:
            if stream is not None and stream.trace is not None:
                own = stream.trace.open_stream(("batch", key, 0))
                events = own.recorded
                events += (BATCH, clock(), key, requested)  # type: ignore[operator]
                make_current(own)
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
                make_current(before)
    return responses


def opening_of(
    method: Method,
    key: int,
    wiring: Wiring | PlainWiring | ResolvedWiring,
    sender: Any,
    named: dict[str, Any],
    frame: FrameType | None,
    options: Options,
) -> tuple[Any, ...]:
    """Return the item with which an async dispatch opens."""
    code = None
    instruction = 0
    if options.callsite:
        frame = application_frame(frame)
        if frame is not None:
            code, instruction = frame.f_code, frame.f_lasti
    details: tuple[Any, ...] = NO_DETAILS
    if options.details and wiring.details is not None:
        details = wiring.details(sender, named)
    return (ASYNC_OPEN, clock(), key, wiring.number, method.value, code, instruction, *details)


propagation.own_types.add(Stepped)
for _function in (call_robust, no_receivers):
    propagation.own_code[id(_function.__code__)] = _function.__code__


def end_of_request(frame: FrameType | None) -> Callable[..., None]:
    """Return what ends a request when *frame* has sent ``request_finished`` asynchronously."""
    if frame is not None and frame.f_code is ASGIHandler.handle.__code__:
        return requests.finished_without_response
    return requests.finished


def async_sender(
    method: Method, original: Callable[..., Any], options: Options
) -> Callable[..., Coroutine[Any, Any, list[tuple[Any, Any]]]]:
    """Return the timed ``asend`` or ``asend_robust`` that stands in for *original*."""
    robust = method is Method.ASEND_ROBUST

    async def asend(self: Signal, sender: Any, **named: Any) -> list[tuple[Any, Any]]:
        after: Callable[[Stream | None], None] | None = None
        if self is request_started:
            requests.started(named)
        elif id(self) in boundaries:
            after = begin_boundary(self, named)
        if not self.receivers or is_unheard(self.sender_receivers_cache.get(sender)):
            if current() is not None:
                count_unheard(self, sender)
                if self is request_finished:
                    end_of_request(getframe(1))()
            if after is not None:
                after(None)
            return []
        if "signal" in named:
            return await original(self, sender, **named)  # type: ignore[no-any-return]
        wiring: Any = None
        live: list[Any] = []
        live_async: list[Any] = []
        # The type is asked, too: a proxy answers for what it wraps.
        resolving = self._live_receivers
        stock = type(resolving) is MethodType and resolving.__func__ is STOCK_LIVE_RECEIVERS
        if not stock:
            live, live_async = self._live_receivers(sender)
            wiring = labelled(self, sender, live, live_async)
        else:
            resolved = True
            try:
                wiring, live, live_async = resolve(self, sender)
            except Exception as error:
                if type(error) is not RecursionError and not is_own(error):
                    raise
                resolved = False
            if not resolved:
                live, live_async = self._live_receivers(sender)
        if not live and not live_async:
            if current() is not None:
                count_unheard(self, sender)
            wiring = None

        merged = {"signal": self, "sender": sender, **named}
        stream: Stream | None = None
        root: Stream | None = None
        opened: list[Any] | None = None
        key = 0
        escaped = ""
        try:
            stream = current()
            if self is request_finished:
                after = end_of_request(getframe(1))
            if (stream is None or stream.ended) and (live or live_async):
                stream = None
                after = finish_lone if after is None else both(finish_lone, after)
                root = stream = begin_lone(self)
            root = stream
            try:
                if stream is not None and stream.events is not None and stream.ident != get_ident():
                    stream, ends = record_elsewhere(self, stream)
                    if ends is not None:
                        root, after = stream, ends
                events = stream.events if stream is not None else None
                if stream is None or events is None or wiring is None:
                    stream = None
                elif len(events) >= STREAM_LIMIT:
                    drop(stream)
                    stream = None
                else:
                    key = next(_keys)
                    opening = opening_of(method, key, wiring, sender, named, getframe(1), options)
                    opened = events
                    events += opening
                    if options.values is not None:
                        events += (VALUES, key, options.values.named(named))
            except Exception as error:
                failed("async opening", error)
                stream = None

            sync_send: Callable[[], Awaitable[list[tuple[Any, Any]]]]
            if live:
                sync_send = sync_to_async(
                    partial(call_batch, self, live, merged, robust, stream, key, clock())
                )
            else:
                sync_send = no_receivers

            waiting: Generator[Any, None, None]
            if stream is None and not robust:
                waiting = (receiver(**merged) for receiver in live_async)
            else:
                waiting = awaitables(self, merged, live_async, robust, stream, key, len(live))
            if RUNS_PARALLEL:
                # Django 6.1 finishes the sync receivers first.
                responses = await sync_send()
                async_responses = await dispatcher._run_parallel(*waiting)  # type: ignore[attr-defined]
            else:
                responses, async_responses = await asyncio.gather(
                    sync_send(), asyncio.gather(*waiting)
                )
            responses.extend(zip(live_async, async_responses, strict=False))
            return responses
        except BaseException as err:
            __tracebackhide__ = True
            escaped = qualname_of(type(err))
            raise
        finally:
            try:
                if opened is not None:
                    end = 0
                    try:
                        end = clock()
                    finally:
                        # Nothing is called between, so that nobody can interrupt again.
                        opened += (ASYNC_CLOSE, end, key, escaped)
            finally:
                if after is not None:
                    try:
                        after(root)
                    except BaseException:
                        after(root)
                        raise

    return asend
