"""Receivers' spans made current, for ``OTLP["current_spans"]``.

What OpenTelemetry's instrumentations record inside of a receiver, a query or a call of another service, has
its parent then. As the readings of the CPU clock this is put into the code of the loops when that is
installed, and this module is not even imported otherwise: without the setting nothing is different. Spans get
their numbers where a dispatch opens, since their ids are made of them, and the worker takes those.

This is the one thing that the traced program can see: while a receiver runs OpenTelemetry's context is
another one, and what the receiver attaches to it and leaves there goes with the dispatch. Receivers of the
signals that begin and end requests and tasks are left alone: what they attach is meant to last.
"""

from __future__ import annotations

import ast
from contextvars import copy_context
from itertools import count, islice
from typing import TYPE_CHECKING, Any, Final

from django.core.signals import request_finished, request_started
from opentelemetry.context import attach, detach, get_current, set_value
from opentelemetry.trace import (
    NonRecordingSpan,
    SpanContext,
    TraceFlags,
    TraceState,
    get_current_span,
    set_span_in_context,
)

from tracing.instrumentation.boundaries import boundaries
from tracing.instrumentation.context import current, set_current
from tracing.instrumentation.dispatch import coroutines
from tracing.instrumentation.failures import failed
from tracing.instrumentation.inlining import Addition, InliningError, changed, statements_at
from tracing.instrumentation.scopes.requests import follow_current_span
from tracing.instrumentation.words import NUMBERS
from tracing.spans.ids import span_id

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextvars import ContextVar
    from types import CodeType

    from django.dispatch import Signal
    from opentelemetry.context.context import Context

    from tracing.instrumentation.buffer import ActiveTrace, Buffer
    from tracing.instrumentation.context import Processor

_SAMPLED: Final = TraceFlags(TraceFlags.SAMPLED)
MAX_WAITING: Final = 10_000
"""Receivers of one trace that run elsewhere and have not begun; the oldest are forgotten beyond it."""


def _find_variable() -> ContextVar[Context]:
    """Return the variable that holds OpenTelemetry's context.

    It is set directly, by calls of C functions: those need no frame, which there may not be, and nobody can
    interrupt in the midst of one. Found by what it holds, since its name is private.

    Raises:
        LookupError: The context is held elsewhere.
    """
    probe = set_value("tracing", object())
    token = attach(probe)
    try:
        return next(variable for variable, held in copy_context().items() if held is probe)
    except StopIteration:
        raise LookupError("OpenTelemetry's context is in no context variable") from None
    finally:
        detach(token)


_variable: Final = _find_variable()


class TraceSpans:
    """The numbers of the spans of one trace, given while it runs."""

    __slots__ = ("are_used", "numbers", "trace", "waiting")

    def __init__(self, trace: ActiveTrace) -> None:
        self.trace = trace
        self.numbers = count(1)
        self.waiting: dict[tuple[int, int], int] = {}
        """Numbers of calls that run elsewhere and have not begun, by dispatch key and position."""
        self.are_used = False
        """Whether one has been current: the trace cannot have another id any more."""

    def current_id(self) -> str:
        """Return the id of the current receiver's span; empty without one."""
        span = get_current_span()
        if type(span) is not ReceiverSpan or span.spans is not self:
            return ""
        return f"{span.get_span_context().span_id:016x}"


class ReceiverSpan(NonRecordingSpan):
    """A receiver's span while it runs: the parent of what others record."""

    def __init__(self, spans: TraceSpans, number: int, state: TraceState | None) -> None:
        self.spans = spans
        self._number = number
        self._state = state
        self._made: SpanContext | None = None

    def get_span_context(self) -> SpanContext:
        """Return its ids, made when somebody asks first."""
        if self._made is None:
            trace = self.spans.trace
            own = span_id(trace.root_span_id, self._number)
            self._made = SpanContext(
                int(trace.trace_id, 16), int(own, 16), False, _SAMPLED, self._state
            )
        return self._made

    def __repr__(self) -> str:
        return f"ReceiverSpan({self.get_span_context()!r})"


class SpanTraces:
    """A processor's stand-in that readies each trace for it."""

    __slots__ = ("_processor", "on_end")

    def __init__(self, processor: Processor) -> None:
        self._processor = processor
        self.on_end = processor.on_end

    def on_start(self, trace: ActiveTrace) -> None:
        """Ready *trace*, have it follow OpenTelemetry's span, and pass it on."""
        trace.root.spans = TraceSpans(trace)
        if trace.root.outer is None:
            follow_current_span(trace)
        self._processor.on_start(trace)


# -- Called by the loops ---------------------------------------------------------------------


def _opened(signal: Signal, buffer: Buffer, calls: int) -> tuple[int, ...] | None:
    """Give numbers to the spans of a dispatch that is about to open.

    Returns:
        The numbers of the dispatch and of its *calls*; None where they may not be current.
    """
    trace = buffer.trace
    spans: TraceSpans | None = None if trace is None else trace.root.spans
    if trace is None or spans is None:
        return None
    outer, is_ours = "", True
    span = get_current_span()
    if type(span) is not ReceiverSpan or span.spans is not spans:
        around = span.get_span_context()
        if around.is_valid:
            is_ours = around.trace_flags.sampled and around.trace_id == int(trace.trace_id, 16)
            outer = f"{around.span_id:016x}"
    numbers = tuple(islice(spans.numbers, 1 + calls))
    if not is_ours or outer == trace.parent_span_id:
        outer = ""
    buffer.events += (NUMBERS, numbers, outer)  # type: ignore[operator]
    if not is_ours or signal is request_started or signal is request_finished:
        return None
    return None if id(signal) in boundaries else numbers


def opened(
    signal: Signal, buffer: Buffer, live: list[Any], live_async: list[Any] | None
) -> tuple[tuple[int, ...], Iterator[Context]] | None:
    """Return the numbers and contexts of the receivers of a dispatch.

    None where they may not be current. Never raises.
    """
    try:
        numbers = _opened(signal, buffer, len(live) + (len(live_async) if live_async else 0))
        if numbers is None:
            return None
        spans = buffer.trace.root.spans  # type: ignore[union-attr]
        return numbers, iter(_contexts(spans, numbers[1 : 1 + len(live)]))
    except Exception as error:
        failed("current span", error)
        return None


def opened_async(
    signal: Signal, buffer: Buffer, key: int, live: list[Any], live_async: list[Any]
) -> None:
    """Give numbers to the spans of an async dispatch. Never raises."""
    try:
        numbers = _opened(signal, buffer, len(live) + len(live_async))
        if numbers is not None:
            _wait(buffer, key, numbers, 0)
    except Exception as error:
        failed("current span", error)


def async_phase(buffer: Buffer, key: int, numbers: tuple[int, ...], live: list[Any]) -> None:
    """Keep the numbers of the async receivers after *live*. Never raises."""
    try:
        _wait(buffer, key, numbers, len(live))
    except Exception as error:
        failed("current span", error)


def enter_call(buffer: Buffer, key: int, position: int) -> None:
    """Make the span of a call current that runs elsewhere. Never raises."""
    try:
        spans: TraceSpans | None = None if buffer.trace is None else buffer.trace.root.spans
        number = None if spans is None else spans.waiting.pop((key, position), None)
        if spans is not None and number is not None:
            (made,) = _contexts(spans, (number,))
            _variable.set(made)
    except Exception as error:
        failed("current span", error)


def _contexts(spans: TraceSpans, numbers: tuple[int, ...]) -> list[Context]:
    spans.are_used = True
    around = get_current()
    state = get_current_span(around).get_span_context().trace_state
    return [set_span_in_context(ReceiverSpan(spans, number, state), around) for number in numbers]


def _wait(buffer: Buffer, key: int, numbers: tuple[int, ...], first: int) -> None:
    spans: TraceSpans = buffer.trace.root.spans  # type: ignore[union-attr]
    waiting = spans.waiting
    spans.are_used = True
    for position in range(first, len(numbers) - 1):
        waiting[key, position] = numbers[1 + position]
    while len(waiting) > MAX_WAITING:
        # They were cancelled, most of them.
        waiting.pop(next(iter(waiting)), None)


# -- Async receivers, step by step -----------------------------------------------------------

_is_on = False
"""Whether spans are made current; a coroutine that was begun then may go on when they are no more."""


def _now() -> Any:
    """Return what is current: the buffer, and OpenTelemetry's context."""
    return (current(), _variable.get()) if _is_on else current()


def _enter(state: Any) -> None:
    """Make current what ``_now()`` returned, or the buffer of a call."""
    if type(state) is tuple:
        set_current(state[0])
        _variable.set(state[1])
        return
    set_current(state)
    if _is_on and state is not None and state.origin is not None and state.origin[0] == "call":
        enter_call(state, *state.origin[1:])


def follow_steps() -> Callable[[], None]:
    """Have spans follow the steps of async receivers; return what undoes it."""
    global _is_on  # noqa: PLW0603 - as the loops, it belongs to the process.
    _is_on = True
    # They stay: what waits in the midst of a step has what these return.
    vars(coroutines).update(current=_now, set_current=_enter)
    return _follow_no_more


def _follow_no_more() -> None:
    global _is_on  # noqa: PLW0603 - see above.
    _is_on = False


def batch_code() -> CodeType:
    """Return the code for sync receivers of async dispatches.

    Raises:
        InliningError: They are called otherwise than is known here.
    """
    return changed(coroutines.call_batch, in_batch, {"enter_call": enter_call})  # type: ignore[arg-type]


# -- Put into the code -----------------------------------------------------------------------

NAMES: Final[dict[str, Any]] = {
    "otel_context": _variable.get,
    "otel_set": _variable.set,
    "otel_reset": _variable.reset,
    "otel_opened": opened,
    "otel_opened_async": opened_async,
    "otel_async_phase": async_phase,
}
"""What the loops take from the hook."""

_CALL: Final = "response = receiver(**merged)"
_BEFORE: Final = {
    _CALL: "if _spans is not None: hook.otel_set(next(_spans[1], _outer))",
    "events += opening": "hook.otel_opened_async(self, buffer, key, live, live_async)",
}
_AFTER: Final = {
    "opening: int | None = None": "_spans = _outer = _token = None",
    "kept = cached.details(sender, named) if details else NO_DETAILS": (
        "_outer = hook.otel_context()\n"
        "_spans = hook.otel_opened(self, buffer, live, live_async)\n"
        "if _spans is not None: _token = hook.otel_set(_outer)"
    ),
    "phase = begin_async_phase(events)": (
        "if _spans is not None: hook.otel_async_phase(buffer, phase, _spans[0], live)"
    ),
}
_LAST: Final = "if after is not None"
_PUT_BACK: Final = "if _token is not None: hook.otel_reset(_token)"
_BATCH: Final = {
    _CALL: "if events is not None: hook.enter_call(buffer, key, len(responses))",
}
_SYNC_PLACES: Final = [*_AFTER, _CALL, _LAST]


def addition() -> Addition:
    """Return what is put into the send loops."""
    return Addition("OTLP current_spans", with_spans, NAMES)


def with_spans(definition: Any) -> Any:
    """Return the *definition* of a send loop that makes spans current.

    Raises:
        InliningError: It has not the places that are looked for.
    """
    if isinstance(definition, ast.AsyncFunctionDef):
        before = {"events += opening": _BEFORE["events += opening"]}
        return _made(definition, before, {}, [*before])
    return _made(definition, {_CALL: _BEFORE[_CALL]}, _AFTER, _SYNC_PLACES, _PUT_BACK)


def in_batch(definition: Any) -> Any:
    """Return the same for the loop in the thread of an async dispatch."""
    return _made(definition, _BATCH, {}, [_CALL])


def _made(
    definition: Any,
    before: dict[str, str],
    after: dict[str, str],
    places: list[str],
    last: str = "",
) -> Any:
    insertions = _Insertions(before, after, last)
    made = insertions.visit(definition)
    if sorted(insertions.places) != sorted(places):
        raise InliningError(f"spans are made current at {insertions.places}")
    return made


class _Insertions(ast.NodeTransformer):
    """Insert statements before and after others, and one that comes last."""

    def __init__(self, before: dict[str, str], after: dict[str, str], last: str) -> None:
        self._before, self._after, self._last = before, after, last
        self.places: list[str] = []

    def _around(self, node: ast.stmt) -> Any:
        text = ast.unparse(node)
        before, after = self._before.get(text), self._after.get(text)
        if before is None and after is None:
            return node
        self.places.append(text)
        return [*statements_at(before or "", node), node, *statements_at(after or "", node)]

    def visit_Assign(self, node: ast.Assign) -> Any:
        return self._around(node)

    def visit_AnnAssign(self, node: ast.AnnAssign) -> Any:
        return self._around(node)

    def visit_AugAssign(self, node: ast.AugAssign) -> Any:
        return self._around(node)

    def visit_Try(self, node: ast.Try) -> Any:
        self.generic_visit(node)
        if self._last and node.finalbody and ast.unparse(node.finalbody[0]).startswith(_LAST):
            self.places.append(_LAST)
            (put_back,) = statements_at("try: 0\nfinally: 0", node.finalbody[0])
            put_back.body = statements_at(self._last, node.finalbody[0])  # type: ignore[attr-defined]
            put_back.finalbody = node.finalbody  # type: ignore[attr-defined]
            node.finalbody = [put_back]
        return node
