"""Measure the rule set: ``python -m benchmarks.hazards``.

Prints microseconds of processor time per dispatch for made-up traces of several sizes without any
hazard, which are most traces, and for traces of odd shapes in which much is found, small and large, so
that a rule shows which looks at everything again for each dispatch. The goal is 5 µs per dispatch
without hazards, off the request thread. Exit status 1 if it is missed.
"""

from __future__ import annotations

import os
import sys
import time
from itertools import count
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from tracing.spans.records import Dispatch, ReceiverCall, ReceiverLabel, Trace

GOAL_US: Final = 5.0
SIZES: Final = (4, 20, 140, 1_000, 20_000)
ROUNDS: Final = 5
LEAST_DISPATCHES: Final = 20_000
"""Dispatches diagnosed in one round, so that the clock has something to measure."""


def make_trace(size: int, *, hazardous: bool = False) -> Trace:
    """Return a trace of orders: four dispatches each, one of them nested, with six receiver calls."""
    from tracing.spans.records import (
        Callsite,
        Dispatch,
        Kind,
        Method,
        Outcome,
        ReceiverCall,
        ReceiverLabel,
        Trace,
    )

    labels = [
        ReceiverLabel(f"shop.receivers.number_{n}", "/srv/shop/receivers.py", n) for n in range(6)
    ]
    trace = Trace("0" * 31 + "1", Kind.REQUEST, "shop:order", 0, 1_000_000)
    numbers = iter(range(1, 10 * size + 10))
    prefix = "django.db.models.signals."

    def call(dispatch: Dispatch, label: ReceiverLabel, queries: int = 0) -> ReceiverCall:
        made = ReceiverCall(
            next(numbers),
            len(dispatch.receiver_calls),
            label,
            10,
            900,
            self_ns=700,
            query_count=queries,
            statements=[(f"SELECT {dispatch.number}", queries, 100)] if queries else [],
        )
        if hazardous and made.number % 50 == 0:
            made.outcome, made.exception_type = Outcome.RAISED, "ValueError"
        dispatch.receiver_calls.append(made)
        return made

    def send(signal: str, sender: str, key: int, under: ReceiverCall | None = None) -> Dispatch:
        made = Dispatch(
            next(numbers),
            prefix + signal,
            sender,
            Method.SEND_ROBUST if hazardous else Method.SEND,
            10,
            1_000,
            parent_number=under.number if under else None,
            depth=1 if under else 0,
            instance=f"{sender}:{key}",
            callsite=Callsite("/srv/shop/models.py", 7 if hazardous else key % 30_000, "place"),
        )
        trace.dispatches.append(made)
        if under:
            under.dispatches.append(made)
        return made

    for key in range(size // 4):
        placed = send("post_save", "shop.Order", key)
        make_sale = call(placed, labels[0], queries=2)
        call(placed, labels[1])
        sold = send("post_save", "shop.Sale", key, make_sale)
        call(sold, labels[2])
        call(sold, labels[3])
        call(send("pre_save", "shop.Car", key), labels[4])
        call(send("m2m_changed", "shop.Order_cars", key), labels[5])
    return trace


class Odd:
    """Makes traces of which each dispatch is odd in the same way."""

    def __init__(self) -> None:
        from tracing.spans.records import Kind, ReceiverLabel, Trace

        self.trace = Trace("0" * 31 + "1", Kind.COMMAND, "odd", 0, 1_000_000)
        self.label = ReceiverLabel("shop.receivers.odd", "/srv/shop/receivers.py", 7)
        self.numbers = count(1)

    def add(
        self, under: ReceiverCall | None = None, *, instance: str, calls: int = 1, **named: Any
    ) -> Dispatch:
        """Add a save with *calls* receivers, sent from inside *under*."""
        from tracing.spans.records import Callsite, Dispatch, Method, ReceiverCall

        made = Dispatch(
            next(self.numbers),
            "django.db.models.signals.post_save",
            "shop.Order",
            Method.SEND_ROBUST,
            10,
            1_000,
            parent_number=under.number if under else None,
            created=False,
            instance=f"shop.Order:{instance}",
            callsite=Callsite("/srv/shop/models.py", 7, "place"),
        )
        for position in range(calls):
            call = ReceiverCall(next(self.numbers), position, self.label, 10, 900, 700, **named)
            made.receiver_calls.append(call)
        self.trace.dispatches.append(made)
        if under:
            under.dispatches.append(made)
        return made


def saved_again(size: int) -> Trace:
    """Return a trace in which a receiver saves its instance again, all the time in one call."""
    odd = Odd()
    outer = odd.add(instance="1").receiver_calls[0]
    for _ in range(size - 1):
        odd.add(outer, instance="1")
    return odd.trace


def tree(size: int) -> Trace:
    """Return a trace of dispatches for different instances, nested fifty levels deep."""
    odd = Odd()
    under: ReceiverCall | None = None
    for number in range(size):
        made = odd.add(under if number % 50 else None, instance=str(number))
        under = made.receiver_calls[0]
    return odd.trace


def cycles(size: int) -> Trace:
    """Return a trace of instances that are each saved from inside their save, fifty levels deep."""
    odd = Odd()
    under: ReceiverCall | None = None
    for number in range(size):
        made = odd.add(under if number % 50 else None, instance=str(number // 50))
        under = made.receiver_calls[0]
    return odd.trace


def wide_cycles(size: int) -> Trace:
    """Return a trace a thousand levels deep, in which an instance comes again 500 levels below."""
    odd = Odd()
    under: ReceiverCall | None = None
    for number in range(size):
        made = odd.add(under if number % 1_000 else None, instance=str(number % 500))
        under = made.receiver_calls[0]
    return odd.trace


def failing(size: int) -> Trace:
    """Return a trace in which each dispatch has twins that fail, with queries that repeat."""
    from tracing.spans.records import Outcome

    odd = Odd()
    for number in range(size):
        odd.add(
            instance=str(number),
            calls=2,
            outcome=Outcome.RAISED,
            exception_type="ValueError",
            duplicate_of=0,
            query_count=1,
            statements=[("SELECT name FROM shop_order WHERE id = %s", 1, 100)],
        )
    return odd.trace


def bypassing(size: int) -> Trace:
    """Return a trace in which each receiver writes past receivers and sends a mail."""
    from tracing.spans.records import Bypass, SideEffect, TransactionOutcome

    odd = Odd()
    for number in range(size):
        call = odd.add(instance=str(number)).receiver_calls[0]
        signals = ("django.db.models.signals.post_save",)
        odd.trace.bypasses.append(
            Bypass("update", "shop.Line", signals, (odd.label,), 1, 0, None, call.number)
        )
        odd.trace.side_effects.append(
            SideEffect(
                "mail",
                "1 recipient",
                0,
                call.number,
                transaction=TransactionOutcome.COMMITTED,
                transaction_depth=1,
            )
        )
    return odd.trace


SHAPES: Final = (saved_again, tree, cycles, wide_cycles, failing, bypassing)


def measure(trace: Trace) -> float:
    """Return microseconds of processor time per dispatch: the best of several rounds."""
    from tracing.analysis.hazards import configure, find

    rules = configure({})
    times = max(1, LEAST_DISPATCHES // len(trace.dispatches))
    best = float("inf")
    for _ in range(ROUNDS):
        began = time.process_time_ns()
        for _ in range(times):
            find(trace, rules)
        best = min(best, (time.process_time_ns() - began) / times)
    return best / len(trace.dispatches) / 1_000


def main() -> int:
    """Measure, print, and return the exit status."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "carsales.settings")
    slowest = 0.0
    print("dispatches in a trace   µs per dispatch")
    for size in SIZES:
        cost = measure(make_trace(size))
        slowest = max(slowest, cost)
        print(f"{size:>21,}   {cost:>15.2f}")
    print(f"{'1,000 with hazards':>21}   {measure(make_trace(1_000, hazardous=True)):>15.2f}")
    print("each dispatch is odd      of 1,000   of 20,000")
    for shape in SHAPES:
        small, large = measure(shape(1_000)), measure(shape(20_000))
        print(f"{shape.__name__:>21}   {small:>10.2f}  {large:>10.2f}")
    print(f"goal: {GOAL_US:.0f} µs per dispatch without hazards; the most was {slowest:.2f} µs")
    return 0 if slowest <= GOAL_US else 1


if __name__ == "__main__":
    sys.exit(main())
