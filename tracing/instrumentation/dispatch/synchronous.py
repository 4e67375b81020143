"""The timed send loops: ``Signal.send`` and its siblings while traced.

Each does what Django's method does, in the same order, with the same objects, and takes the time on
the way: one reading when a dispatch opens and one as each receiver returns, the end of one being
the start of the next. Receivers are called from the same depth of the stack as by Django; a frame that
an exception leaves says ``__tracebackhide__``, so that pytest shows the application's frames only.

Where the loop cannot know what Django's method would do (a named argument called ``signal``, a
failure of our own) Django's own method runs instead.
"""

from __future__ import annotations

import asyncio
from sys import _getframe as getframe
from threading import get_ident
from types import MethodType
from typing import TYPE_CHECKING, Any, Final

# By its own name: a test of the application may watch ``weakref.ref``, as one of Django's does.
from weakref import ref

from asgiref.sync import async_to_sync
from django.core.signals import request_finished, request_started
from django.db.models.signals import post_init, pre_init

from tracing.clocks import perf_counter_ns as clock
from tracing.instrumentation.attributes.callsites import is_library, place_of
from tracing.instrumentation.attributes.names import qualname_of
from tracing.instrumentation.boundaries import begin as begin_boundary
from tracing.instrumentation.boundaries import both, boundaries
from tracing.instrumentation.buffer import BUFFER_LIMIT, Buffer
from tracing.instrumentation.connections.neighbours import STOCK_LIVE_RECEIVERS
from tracing.instrumentation.connections.receivers import CachedReceivers, UncachedReceivers
from tracing.instrumentation.context import current
from tracing.instrumentation.dispatch.coroutines import async_phase, dispatch_keys, drop, raised
from tracing.instrumentation.dispatch.orphans import Orphan, count_orphan, known, pass_orphan
from tracing.instrumentation.dispatch.receivers import NO_RECEIVERS, labelled, resolve
from tracing.instrumentation.dispatch.refused import unseen_frame, watched
from tracing.instrumentation.failures import failed, is_own
from tracing.instrumentation.scopes import requests
from tracing.instrumentation.scopes.standalone import (
    begin_standalone,
    finish_standalone,
    record_elsewhere,
)
from tracing.instrumentation.words import (
    ASYNC_CLOSE,
    ASYNC_PHASE,
    CUT,
    NO_DETAILS,
    RAISED,
    RETURNED,
    VALUES,
)
from tracing.spans.records import Method

if TYPE_CHECKING:
    from collections.abc import Callable

    from django.dispatch import Signal

    from tracing.instrumentation.dispatch.options import Options

UNKNOWN: Final = object()
"""Stands for what could not be looked up."""


def sync_sender(
    method: Method, original: Callable[..., Any], options: Options
) -> Callable[..., list[tuple[Any, Any]]]:
    """Return the timed ``send`` that stands in for *original*.

    What is done for each dispatch stands in one function: receivers are called from the frame that
    Django would call them from, and a call costs more than most of what is done here.
    """
    robust = method is Method.SEND_ROBUST
    word = method.value
    callsite, details, values = options.callsite, options.details, options.values

    def send(self: Signal, sender: Any, **named: Any) -> list[tuple[Any, Any]]:
        if not self.receivers:
            if self is pre_init or self is post_init:
                return []  # Two for each instance of a model: nothing may be spent on them.
            buffer = current()
            if buffer is None:
                if self is request_started:
                    pass_orphan(self, sender, named)
            else:
                counts = buffer.orphans
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
                        pass_orphan(self, sender, named)
                    except RecursionError:
                        pass  # The end of the stack is the application's to meet.
                elif self is request_started or self is request_finished:
                    pass_orphan(self, sender, named)
            return []
        cached: Any
        if self.use_caching:
            try:
                # What WeakKeyDictionary.get() does, without its frame.
                cached = self.sender_receivers_cache.data.get(ref(sender))  # type: ignore[attr-defined]
            except Exception as error:
                if type(error) is not RecursionError and not is_own(error):
                    raise
                cached = UNKNOWN
            if cached is UNKNOWN:
                # Not in the except clause: Django's error has nothing in its context.
                cached = self.sender_receivers_cache.get(watched(self, sender, method))
            if cached is NO_RECEIVERS:
                if self is pre_init or self is post_init:
                    return []
                buffer = current()
                if buffer is not None and buffer.orphans is not None:
                    try:
                        count_orphan(self, sender)
                    except RecursionError:
                        pass  # The end of the stack is the application's to meet.
                return []
            kind = type(cached)
            if kind is not CachedReceivers:
                if kind is Orphan:
                    buffer = current()
                    if buffer is not None:
                        counts = buffer.orphans
                        if counts is not None:
                            owner, cell = cached.tally
                            if owner is counts:
                                cell[0] += 1
                            else:
                                try:
                                    cached.begin(counts)
                                except RecursionError:
                                    pass
                    return []
                cached = None
        else:
            # First as Django asks, which raises for a sender that cannot be hashed.
            cached = self.sender_receivers_cache.get(sender)
            try:
                cached = self.sender_receivers_cache.get(-id(sender))
                if (
                    type(cached) is not UncachedReceivers
                    or cached.sender() is not sender
                    or cached.connections != self.receivers
                ):
                    cached = None
            except Exception as error:
                if type(error) is not RecursionError and not is_own(error):
                    raise
                cached = None
        if "signal" in named:
            with unseen_frame:
                return original(self, sender, **named)  # type: ignore[no-any-return]
        merged = {"signal": self, "sender": sender, **named}
        live = []
        live_async = None
        resolving = self._live_receivers
        if (
            cached is not None
            # The type is asked, too: a proxy answers for what it wraps.
            and type(resolving) is MethodType
            and resolving.__func__ is STOCK_LIVE_RECEIVERS
            and not self._dead_receivers  # type: ignore[attr-defined]
        ):
            for deref in cached.derefs:
                receiver = deref()
                if receiver is None:
                    cached = None
                    break
                live.append(receiver)
            else:
                if cached.async_derefs:
                    cached = None
        else:
            cached = None
        after: Callable[[Buffer | None], None] | None = None
        if cached is None:
            if type(resolving) is not MethodType or resolving.__func__ is not STOCK_LIVE_RECEIVERS:
                live, live_async = self._live_receivers(sender)
                try:
                    cached = labelled(self, sender, live, live_async)
                except RecursionError:
                    cached = None
            else:
                cached = UNKNOWN
                try:
                    cached, live, live_async = resolve(self, sender)
                except Exception as error:
                    if type(error) is not RecursionError and not is_own(error):
                        raise
                if cached is UNKNOWN:
                    # Also where Django raises something for a sender that it cannot look up. Not in
                    # the except clause: our failure is not the context of what receivers raise.
                    cached = None
                    live, live_async = self._live_receivers(sender)
            if not live and not live_async:
                try:
                    pass_orphan(self, sender, named)
                except RecursionError:
                    pass  # The end of the stack is the application's to meet.
                return []
            if id(self) in boundaries:
                buffer = None
                after = begin_boundary(self, named)

        responses: list[tuple[Any, Any]] = []
        opening: int | None = None
        end: Any
        try:
            if not self.use_caching:  # The signals of a request do not cache; most others do.
                if self is request_started:
                    requests.started(named)
                elif self is request_finished:
                    buffer = None
                    after = requests.finished
            buffer = current()
            events = buffer.events if buffer is not None else None
            if events is None and (buffer is None or buffer.ended):
                buffer = None
                after = finish_standalone if after is None else both(finish_standalone, after)
                try:
                    buffer = begin_standalone(self)
                except RecursionError:
                    pass  # The end of the stack is the application's to meet.
                if buffer is not None:
                    events = buffer.events
            if events is not None:
                try:
                    if buffer.ident != get_ident():  # type: ignore[union-attr]
                        buffer, end = record_elsewhere(self, buffer)  # type: ignore[arg-type]
                        if end is not None:
                            after = end
                        events = buffer.events
                    if len(events) >= BUFFER_LIMIT or cached is None:  # type: ignore[arg-type]
                        drop(buffer)  # type: ignore[arg-type]
                        events = None
                    else:
                        if callsite:
                            frame: Any = getframe(1)
                            code = frame.f_code
                            try:
                                while is_library[code.co_filename]:
                                    frame = frame.f_back
                                    code = frame.f_code
                                instruction = frame.f_lasti
                            except (KeyError, AttributeError) as error:
                                if not is_own(error):
                                    raise
                                code, instruction = place_of(frame)
                            frame = None
                        else:
                            code = None
                            instruction = 0
                        start = clock()
                        kept = cached.details(sender, named) if details else NO_DETAILS
                        # Nothing is called between, so that nobody reads or interrupts half of it.
                        events += (word, start, cached.number, code, instruction)  # type: ignore[operator]
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
                except BaseException as error:
                    # As ``except Exception`` decides, which goes by the type alone.
                    closes = not robust or not issubclass(type(error), Exception)
                    try:
                        end = raised(error, closes=closes)
                    except Exception as failure:
                        if type(failure) is not RecursionError and not is_own(failure):
                            raise
                        end = (RAISED, clock(), qualname_of(type(error)), "", closes)
                    events += end
                    if closes:
                        opening = None
                        __tracebackhide__ = True
                        raise
                    # Fails, too, where Django names the receiver by an attribute that a partial lacks.
                    self._log_robust_failure(receiver, error)  # type: ignore[attr-defined]
                    responses.append((receiver, error))
                else:
                    responses.append((receiver, response))
                    if response is None:
                        events.append(clock())
                    else:
                        events += (RETURNED, clock(), qualname_of(type(response)))
            if live_async:
                key = next(dispatch_keys)
                events += (ASYNC_PHASE, clock(), key, asyncio._get_running_loop() is not None)
                escaped = ""
                try:
                    responses.extend(
                        async_to_sync(async_phase)(
                            self, merged, live_async, robust, buffer, key, len(live)
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
                    after(buffer)
                except BaseException:
                    # Somebody interrupts: once more, what is done is passed over.
                    after(buffer)
                    raise

    return send
