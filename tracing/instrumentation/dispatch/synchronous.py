"""The timed send loops: ``Signal.send`` and its siblings while traced.

Each does what Django's method does, in the same order, with the same objects, and takes the time on
the way: one reading when a dispatch opens and one as each receiver returns, the end of one being
the start of the next. Receivers are called from the same depth of the stack as by Django; a frame that
an exception leaves says ``__tracebackhide__``, so that pytest shows the application's frames only.

Where the loop cannot know what Django's method would do (a named argument called ``signal``, a
failure of our own) Django's own method runs instead.
"""

from __future__ import annotations

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
from tracing.instrumentation.dispatch.coroutines import async_phase, begin_async_phase, drop, raised
from tracing.instrumentation.dispatch.orphans import (
    Orphan,
    count_orphan,
    is_unknown,
    known,
    pass_orphan,
)
from tracing.instrumentation.dispatch.receivers import (
    NO_RECEIVERS,
    is_overridden,
    labelled,
    resolved,
)
from tracing.instrumentation.dispatch.refused import unseen_frame, watched
from tracing.instrumentation.failures import failed, pass_on
from tracing.instrumentation.scopes import requests
from tracing.instrumentation.scopes.standalone import (
    begin_standalone,
    finish_standalone,
    record_elsewhere,
)
from tracing.instrumentation.words import (
    ASYNC_CLOSE,
    CUT,
    NO_DETAILS,
    RAISED,
    RETURNED,
    VALUES,
)
from tracing.spans.records import Method

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import CodeType, FrameType

    from django.dispatch import Signal

    from tracing.instrumentation.dispatch.options import Options


def place_after(error: Exception, frame: FrameType | None) -> tuple[CodeType | None, int]:
    """Return who sends, where the quick look from *frame* met an *error*.

    Raises:
        Exception: *error*, where it came from outside.
    """
    pass_on(error)
    return place_of(frame)


def not_opened(error: Exception) -> None:
    """Count a failure to open a dispatch. Raises what came from outside."""
    try:
        failed("opening", error)
    except RecursionError:
        pass  # The end of the stack is the application's to meet.


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
            elif (counts := buffer.orphans) is not None:
                try:
                    try:
                        owner, cell = known[id(self)][id(sender)].tally
                        if owner is counts:
                            cell[0] += 1
                            return []
                    except KeyError as error:
                        if not is_unknown(error):
                            raise
                    pass_orphan(self, sender, named)
                except RecursionError:
                    pass  # The end of the stack is the application's to meet.
            elif self is request_started or self is request_finished:
                pass_orphan(self, sender, named)
            return []
        if self.use_caching:
            cached: Any
            try:
                # What WeakKeyDictionary.get() does, without its frame.
                cached = self.sender_receivers_cache.data.get(ref(sender))  # type: ignore[attr-defined]
            except Exception as error:
                pass_on(error)
                cached = UNKNOWN
            if cached is UNKNOWN:
                # Not in the except clause: Django's error has nothing in its context.
                cached = self.sender_receivers_cache.get(watched(self, sender, method))
            if cached is NO_RECEIVERS:
                if self is not pre_init and self is not post_init:
                    buffer = current()
                    if buffer is not None and buffer.orphans is not None:
                        count_orphan(self, sender)
                return []
            kind = type(cached)
            if kind is not CachedReceivers:
                if kind is Orphan:
                    buffer = current()
                    if buffer is not None and (counts := buffer.orphans) is not None:
                        owner, cell = cached.tally
                        if owner is counts:
                            cell[0] += 1
                        else:
                            cached.begin(counts)
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
                pass_on(error)
                cached = None
        if "signal" in named:
            with unseen_frame:
                return original(self, sender, **named)  # type: ignore[no-any-return]
        merged = {"signal": self, "sender": sender, **named}
        live = []
        live_async = None
        resolving = self._live_receivers
        if (
            cached is None
            # The type is asked, too: a proxy answers for what it wraps.
            or type(resolving) is not MethodType
            or resolving.__func__ is not STOCK_LIVE_RECEIVERS
            or self._dead_receivers  # type: ignore[attr-defined]
        ):
            cached = None
        else:
            for deref in cached.derefs:
                receiver = deref()
                if receiver is None:
                    cached = None
                    break
                live.append(receiver)
            else:
                if cached.async_derefs:  # Not there before it is finished.
                    cached = None
        after: Callable[[Buffer | None], None] | None = None
        if cached is None:
            cached, live, live_async = resolved(self, sender)
            if live_async is None:
                # Also where Django raises something for a sender that it cannot look up.
                live, live_async = self._live_receivers(sender)
                if is_overridden(self):
                    cached = labelled(self, sender, live, live_async)
            if not live and not live_async:
                pass_orphan(self, sender, named)
                return []
            if id(self) in boundaries:
                buffer = None
                after = begin_boundary(self, named)

        responses: list[tuple[Any, Any]] = []
        opening: int | None = None
        end: Any
        phase: int | None = None
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
                buffer = begin_standalone(self)
                events = buffer.events if buffer is not None else None
            if events is not None:
                try:
                    if buffer.ident != get_ident():  # type: ignore[union-attr]
                        buffer, end = record_elsewhere(self, buffer)  # type: ignore[arg-type]
                        after = end or after
                        events = buffer.events
                    if len(events) >= BUFFER_LIMIT or cached is None:  # type: ignore[arg-type]
                        drop(buffer)  # type: ignore[arg-type]
                        events = None
                    else:
                        code, instruction = None, 0
                        if callsite:
                            frame: Any = getframe(1)
                            try:
                                while is_library[(code := frame.f_code).co_filename]:
                                    frame = frame.f_back
                                instruction = frame.f_lasti
                            except (KeyError, AttributeError) as error:
                                code, instruction = place_after(error, frame)
                            frame = None
                        start = clock()
                        kept = cached.details(sender, named) if details else NO_DETAILS
                        # Nothing is called between, so that nobody reads or interrupts half of it.
                        events += (word, start, cached.number, code, instruction)  # type: ignore[operator]
                        events += kept
                        opening = start
                        if values is not None:
                            events += (VALUES, 0, values.named(named))
                except Exception as error:
                    if opening is None:
                        events = None
                    not_opened(error)
            for receiver in live:
                try:
                    response = receiver(**merged)
                except BaseException as error:
                    # As ``except Exception`` decides, which goes by the type alone.
                    closes = not robust or not issubclass(type(error), Exception)
                    if events is not None:
                        try:
                            end = raised(error, closes=closes)
                        except RecursionError:
                            end = (RAISED, clock(), qualname_of(type(error)), "", closes)
                        events += end
                    if closes:
                        opening = None
                        raise
                    # Fails, too, where Django names the receiver by an attribute that a partial lacks.
                    self._log_robust_failure(receiver, error)  # type: ignore[attr-defined]
                    responses.append((receiver, error))
                else:
                    responses.append((receiver, response))
                    if events is not None:
                        if response is None:
                            events.append(clock())
                        else:
                            events += (RETURNED, clock(), qualname_of(type(response)))
            if live_async:
                if events is not None:
                    phase = begin_async_phase(events)
                responses += async_to_sync(async_phase)(
                    self, merged, live_async, robust, buffer, phase, len(live)
                )
                if events is not None:
                    events += (ASYNC_CLOSE, clock(), phase, "")
                    opening = None
            return responses
        except BaseException as error:
            __tracebackhide__ = True
            if opening is not None:
                # Not by a sync receiver: by an async one, by somebody who interrupts here, or Django's
                # report of a failure failed.
                end, escaped = 0, ""
                try:
                    end = clock()
                    escaped = qualname_of(type(error))
                finally:
                    # Nothing is called between, so that nobody can interrupt again.
                    if phase is None:
                        events += (CUT, end, escaped, opening)  # type: ignore[operator]
                    else:
                        events += (ASYNC_CLOSE, end, phase, escaped)  # type: ignore[operator]
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
