"""Made-up traces of a shop, to fill a store of any size: for benchmarks and trying the viewer."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tracing.capture.spans import (
    Callsite,
    Dispatch,
    Kind,
    Method,
    Outcome,
    ReceiverCall,
    ReceiverLabel,
    Status,
    Trace,
    TransactionOutcome,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

_MODEL_SIGNALS = "django.db.models.signals."
_SECOND_NS = 1_000_000_000
_LARGEST_TRACE = 60


@dataclass(frozen=True, slots=True)
class _Wiring:
    """A signal and a sender with the receivers that are connected for them."""

    signal: str
    sender: str
    receivers: tuple[ReceiverLabel, ...]
    callsites: tuple[Callsite, ...]
    transaction: TransactionOutcome
    named: tuple[str, ...]


class Filler:
    """Make up traces that look like those of a shop, the same for the same seed.

    Args:
        seed: Of the random numbers.
        newest_ns: When the last trace started (wall clock, ns since the epoch).
        days: Over how many days the traces are spread.
        apps: How many applications the shop has; signals and receivers grow with it.
    """

    def __init__(self, seed: int = 1, *, newest_ns: int, days: float = 7, apps: int = 12) -> None:
        self.random = random.Random(seed)  # noqa: S311 - made-up data.
        self.newest_ns = newest_ns
        self.span_ns = int(days * 86_400 * _SECOND_NS)
        self.wirings = [self._wiring(app, place) for app in range(apps) for place in range(8)]
        # Few signals make most of the dispatches, as everywhere.
        self.weights = [1 / (rank + 1) for rank in range(len(self.wirings))]
        self.random.shuffle(self.weights)
        self.routes = [
            (f"shop{app}:{verb}", f"/shop{app}/{verb}/", method)
            for app in range(apps)
            for verb, method in (("list", "GET"), ("detail", "GET"), ("save", "POST"))
        ]

    def _wiring(self, app: int, place: int) -> _Wiring:
        name = f"shop{app}"
        if place < 6:  # noqa: PLR2004 - six of eight are model signals.
            signal = _MODEL_SIGNALS + ("pre_save", "post_save", "post_delete")[place % 3]
            sender = f"{name}.{('Order', 'Customer')[place // 3]}"
            named: tuple[str, ...] = ()
        else:
            signal = f"{name}.signals.{('order_placed', 'stock_changed')[place - 6]}"
            sender = f"{name}.services.Checkout"
            named = ("order", "user")
        receivers = tuple(
            ReceiverLabel(
                name=f"{name}.receivers.{verb}_{place}",
                file=f"/srv/shop/{name}/receivers.py",
                line=20 + 17 * number,
                dispatch_uid=f"{name}.{verb}" if number % 2 else "",
                app=name,
                is_async=number == 4,  # noqa: PLR2004
            )
            for number, verb in enumerate(
                ("index", "notify", "count", "invalidate", "push")[
                    : self.random.choice((1, 2, 3, 3, 4, 5))
                ]
            )
        )
        callsites = tuple(
            Callsite(f"/srv/shop/{name}/views.py", 30 + 11 * number, f"{verb}_view")
            for number, verb in enumerate(("create", "edit"))
        )
        transaction = self.random.choice(
            (TransactionOutcome.NONE, TransactionOutcome.COMMITTED, TransactionOutcome.COMMITTED)
        )
        return _Wiring(signal, sender, receivers, callsites, transaction, named)

    def traces(self, dispatches: int) -> Iterator[Trace]:
        """Yield traces with *dispatches* dispatches altogether, oldest first."""
        made = 0
        while made < dispatches:
            size = min(dispatches - made, 1 + int(self.random.expovariate(1 / 19)), _LARGEST_TRACE)
            age = 1 - made / dispatches
            trace = self._trace(size, self.newest_ns - int(age * self.span_ns))
            made += len(trace.dispatches)
            yield trace

    def _trace(self, size: int, started_ns: int) -> Trace:
        roll = self.random
        name, path, method = roll.choice(self.routes)
        key = roll.randrange(1, 500_000)
        trace = Trace(
            trace_id=f"{roll.getrandbits(128):032x}",
            kind=Kind.REQUEST if roll.random() < 0.95 else Kind.TASK,  # noqa: PLR2004
            name=name,
            started_ns=started_ns,
            duration_ns=0,
            http_method=method,
            http_path=f"{path}{key}/",
            http_status=200,
            user_id=str(roll.randrange(1, 20_000)) if roll.random() < 0.6 else "",  # noqa: PLR2004
            host="web1",
            process=4_000 + roll.randrange(8),
            thread="MainThread",
        )
        number, clock = 1, roll.randrange(200_000, 2_000_000)
        while len(trace.dispatches) < size:
            number, clock = self._dispatch(trace, size, number, clock, None, 0, key)
            clock += roll.randrange(50_000, 900_000)
        trace.duration_ns = clock + roll.randrange(200_000, 3_000_000)
        trace.dispatch_count = len(trace.dispatches)
        for dispatch in trace.dispatches:
            trace.receiver_call_count += len(dispatch.receiver_calls)
            if dispatch.parent_number is None:
                trace.signal_ns += dispatch.duration_ns
            for call in dispatch.receiver_calls:
                trace.query_count += call.query_count
                trace.query_ns += call.query_ns
                trace.error_count += call.outcome is Outcome.RAISED
        trace.status = Status.ERROR if trace.error_count else Status.OK
        if trace.error_count:
            trace.http_status = 500
            trace.error = "ValueError: out of stock"
        trace.unheard = [(_MODEL_SIGNALS + "post_init", "shop0.Order", roll.randrange(1, 90))]
        trace.unheard_count = trace.unheard[0][2]
        trace.overhead_ns = 900 * trace.dispatch_count
        return trace

    def _dispatch(  # noqa: PLR0917 - private, and it calls itself.
        self,
        trace: Trace,
        size: int,
        number: int,
        clock: int,
        parent: ReceiverCall | None,
        depth: int,
        key: int,
    ) -> tuple[int, int]:
        """Add a dispatch and what it causes; return the next span number and the time after it."""
        roll = self.random
        wiring = roll.choices(self.wirings, self.weights)[0]
        saves = wiring.signal.endswith("_save")
        dispatch = Dispatch(
            number=number,
            signal=wiring.signal,
            sender=wiring.sender,
            method=Method.SEND,
            start_ns=clock,
            duration_ns=0,
            depth=depth,
            parent_number=None if parent is None else parent.number,
            instance=f"{wiring.sender}:{key + number}" if not wiring.named else "",
            created=roll.random() < 0.3 if saves and "post" in wiring.signal else None,  # noqa: PLR2004
            raw=False if saves else None,
            using="" if wiring.named else "default",
            named=wiring.named,
            callsite=roll.choice(wiring.callsites),
            transaction=wiring.transaction,
            transaction_depth=0 if wiring.transaction is TransactionOutcome.NONE else 1,
            thread=trace.thread,
        )
        number += 1
        trace.dispatches.append(dispatch)
        if parent is not None:
            parent.dispatches.append(dispatch)
        clock += roll.randrange(800, 4_000)
        failed = False
        for position, receiver in enumerate(wiring.receivers):
            call = ReceiverCall(number, position, receiver, clock, 0)
            number += 1
            dispatch.receiver_calls.append(call)
            if failed:
                call.outcome = Outcome.SKIPPED
                continue
            clock += int(roll.lognormvariate(11, 1.2))
            if roll.random() < 0.3:  # noqa: PLR2004
                call.query_count = roll.randrange(1, 4)
                call.query_ns = call.query_count * roll.randrange(40_000, 400_000)
                clock += call.query_ns
            nested = 0
            if depth < 3 and len(trace.dispatches) < size and roll.random() < 0.15:  # noqa: PLR2004
                before = clock
                number, clock = self._dispatch(trace, size, number, clock, call, depth + 1, key)
                nested = clock - before
            call.duration_ns = clock - call.start_ns
            call.self_ns = call.duration_ns - nested
            dispatch.query_count += call.query_count
            dispatch.query_ns += call.query_ns
            if roll.random() < 0.001:  # noqa: PLR2004
                call.outcome, failed = Outcome.RAISED, True
                call.exception_type = "ValueError"
                call.exception_message = "out of stock"
                dispatch.exception_type = "ValueError"
        dispatch.duration_ns = clock - dispatch.start_ns
        return number, clock
