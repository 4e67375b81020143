"""Calibration: costs of recording here, measured once per process.

Some milliseconds of CPU in the worker, never on a traced thread: a private signal is sent as it is recorded
and as Django sends it, in turns, into a trace that nobody sees. The least difference of many short
rounds is what recording adds where nothing else is in the way; the overhead shown on a trace is these
costs times its counts.
"""

from __future__ import annotations

import inspect
from contextvars import Context
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Final

from django.dispatch import Signal

from tracing.clocks import perf_counter_ns as clock
from tracing.clocks import time
from tracing.instrumentation import context, patching
from tracing.instrumentation.assembly import knowledge
from tracing.instrumentation.buffer import ActiveTrace
from tracing.instrumentation.connections.neighbours import PRISTINE_SENDS
from tracing.instrumentation.database import queries
from tracing.instrumentation.dispatch.receivers import is_overridden
from tracing.instrumentation.failures import failed
from tracing.spans.records import Kind, Method

if TYPE_CHECKING:
    from collections.abc import Callable

ROUNDS: Final = 20
SENDS: Final = 10
"""Sends of one round: few, so that other threads have the interpreter back at once."""
PATIENCE_NS: Final = 10_000_000
"""When no further round is begun. Between rounds others have the interpreter, for as long as they like:
where threads are busy, the traces of the whole process would wait for the last round."""
RECEIVERS: Final = 5
"""Of the signal with several; the other one has a single receiver."""


class _Sender:
    """Sends the private signals."""


def _receiver(number: int) -> Callable[..., None]:
    def receiver(**named: Any) -> None:
        """Do nothing, as quickly as can be."""

    receiver.__qualname__ = f"receiver_{number}"
    return receiver


def _signal(receivers: int) -> Signal:
    signal = Signal(use_caching=True)
    connect = inspect.unwrap(Signal.connect)
    for number in range(receivers):
        connect(signal, _receiver(number), sender=_Sender, weak=False)
    return signal


def _least(work: Callable[[], object], rounds: int = ROUNDS) -> int:
    """Return the nanoseconds of the quickest of several rounds of *work*."""
    least = None
    began = clock()
    for number in range(rounds):
        start = clock()
        if number > 1 and start - began > PATIENCE_NS:
            break
        work()
        taken = clock() - start
        least = taken if least is None else min(least, taken)
        time.sleep(0)
    return least or 0


def _added(signal: Signal, active: ActiveTrace) -> float:
    """Return the nanoseconds that recording adds to one dispatch of *signal*."""
    facts = {"instance": _Sender(), "created": True, "raw": False, "using": "default"}

    def rounds_of(send: Callable[..., Any]) -> Callable[[], None]:
        def work() -> None:
            for _ in range(SENDS):
                send(signal, _Sender, **facts)
            (active.root.events or []).clear()

        return work

    recorded = rounds_of(Signal.__dict__[Method.SEND.value])
    stock = rounds_of(PRISTINE_SENDS[Method.SEND])
    recorded()
    stock()
    return (_least(recorded) - _least(stock)) / SENDS


def _query() -> float:
    """Return the nanoseconds that it takes to note one query."""
    cursor = SimpleNamespace(db=SimpleNamespace(alias="default"))

    def work() -> None:
        for _ in range(SENDS):
            queries._note(cursor, "SELECT 1", clock(), succeeded=True, keep_statements=False)

    return _least(work) / SENDS


def _measure() -> tuple[int, int, int]:
    """Return the costs (ns) of a dispatch, a receiver call and a query."""
    active = ActiveTrace(Kind.BLOCK, "calibration")
    context.enter(active.root)
    single, several = _added(_signal(1), active), _added(_signal(RECEIVERS), active)
    call = (several - single) / (RECEIVERS - 1)
    # A loop of ours can be quicker than Django's: then it costs nothing.
    return max(round(single - call), 0), max(round(call), 0), max(round(_query()), 0)


def calibrate() -> None:
    """Measure once, with signals that only we have changed. Never raises."""
    try:
        if knowledge.costs.measured or not patching.is_instrumented():
            return
        knowledge.costs.measured = True
        if is_overridden(Signal()):
            return
        dispatch, call, query = Context().run(_measure)
        knowledge.costs.dispatch_ns = dispatch
        knowledge.costs.call_ns = call
        knowledge.costs.query_ns = query
    except Exception as error:
        failed("calibration", error)
