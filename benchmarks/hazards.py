"""Measure the rule set: ``python -m benchmarks.hazards``.

Prints microseconds per dispatch for made-up traces of several sizes without any hazard, which are most
traces, and for one in which much is found. The goal is 5 µs per dispatch, off the request thread. Exit
status 1 if it is missed.
"""

from __future__ import annotations

import os
import sys
import time
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from tracing.capture.spans import ReceiverLabel, Trace

GOAL_US: Final = 5.0
SIZES: Final = (4, 20, 140, 1_000, 20_000)
ROUNDS: Final = 7
LEAST_DISPATCHES: Final = 20_000
"""Dispatches diagnosed in one round, so that the clock has something to measure."""


def make_trace(size: int, *, hazardous: bool = False) -> Trace:
    """Return a trace of orders: four dispatches each, one of them nested, with six receiver calls."""
    from tracing.capture.spans import (
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


def measure(trace: Trace) -> float:
    """Return microseconds per dispatch: the best of several rounds."""
    from tracing.analysis.hazards import configure, find

    rules = configure({})
    times = max(1, LEAST_DISPATCHES // len(trace.dispatches))
    best = float("inf")
    for _ in range(ROUNDS):
        began = time.perf_counter_ns()
        for _ in range(times):
            find(trace, rules)
        best = min(best, (time.perf_counter_ns() - began) / times)
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
    print(f"goal: {GOAL_US:.0f} µs per dispatch without hazards; the most was {slowest:.2f} µs")
    return 0 if slowest <= GOAL_US else 1


if __name__ == "__main__":
    sys.exit(main())
