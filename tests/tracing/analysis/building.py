"""Traces for tests of the analysis: built from a few words, with times laid out truthfully."""

from __future__ import annotations

from itertools import count
from typing import TYPE_CHECKING, Any

from tracing.spans.records import (
    Bypass,
    Callsite,
    Dispatch,
    Kind,
    LostReceiver,
    Method,
    Outcome,
    ReceiverCall,
    ReceiverLabel,
    SideEffect,
    Trace,
    TransactionOutcome,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

TRACE_ID = "0af7651916cd43dd8448eb211c80319c"
SIGNALS = {
    **{
        name: f"django.db.models.signals.{name}"
        for name in (
            "pre_init",
            "post_init",
            "pre_save",
            "post_save",
            "pre_delete",
            "post_delete",
            "m2m_changed",
        )
    },
    "order_placed": "core.orders.signals.order_placed",
}
US = 1_000
MS = 1_000_000


def label(name: str, **options: Any) -> ReceiverLabel:
    """Return a label; file and line follow from the name unless given."""
    plain = name.removeprefix("functools.partial(").rstrip("()")
    module, _, function = plain.rpartition(".")
    options.setdefault("file", f"/app/{module.replace('.', '/')}.py")
    options.setdefault("line", sum(map(ord, function)) % 400 + 1)
    return ReceiverLabel(name, **options)


class TraceBuilder:
    """Collects dispatches and calls; ``build`` numbers them and lays out their times."""

    def __init__(self, kind: Kind = Kind.REQUEST, name: str = "orders:checkout", **options: Any):
        self.trace = Trace(TRACE_ID, kind, name, 1_700_000_000_000_000_000, 0, **options)
        self.roots: list[Dispatch] = []
        self.sent: dict[int, list[Dispatch]] = {}
        """What each receiver call sent, by its number."""
        self._numbers: Iterator[int] = count(1)
        self.gap_ns = 1 * US

    def dispatch(
        self,
        signal: str = "post_save",
        sender: str = "orders.Order",
        under: ReceiverCall | None = None,
        *,
        at: str = "core.views.checkout:10",
        **options: Any,
    ) -> Dispatch:
        """Add a dispatch; *at* is ``module.function:line`` of its callsite."""
        function, _, line = at.rpartition(":")
        module, _, name = function.rpartition(".")
        file = f"/app/{module.replace('.', '/')}.py"
        options.setdefault("callsite", Callsite(file, int(line), name))
        options.setdefault("method", Method.SEND)
        dispatch = Dispatch(
            next(self._numbers),
            SIGNALS.get(signal, signal),
            sender,
            start_ns=0,
            duration_ns=0,
            parent_number=under.number if under is not None else None,
            **options,
        )
        (self.roots if under is None else self.sent.setdefault(under.number, [])).append(dispatch)
        return dispatch

    def call(
        self,
        dispatch: Dispatch,
        receiver: str | ReceiverLabel = "core.orders.receivers.make_sale",
        *,
        own_ns: int = 10 * US,
        **options: Any,
    ) -> ReceiverCall:
        """Add a receiver call that takes *own_ns* besides what it sends."""
        found = receiver if isinstance(receiver, ReceiverLabel) else label(receiver)
        ran = sum(count for _sql, count, _ns in options.get("statements", ()))
        options.setdefault("query_count", ran)
        call = ReceiverCall(
            next(self._numbers),
            len(dispatch.receiver_calls),
            found,
            start_ns=0,
            duration_ns=own_ns,
            self_ns=own_ns,
            **options,
        )
        dispatch.receiver_calls.append(call)
        return call

    def side_effect(self, call: ReceiverCall | None, kind: str = "mail", **options: Any) -> None:
        """Add a side effect done by *call*, in a transaction that was committed unless told."""
        options.setdefault("target", "1 recipient")
        options.setdefault("transaction", TransactionOutcome.COMMITTED)
        options.setdefault("transaction_depth", 1)
        options.setdefault("using", "default")
        self.trace.side_effects.append(
            SideEffect(
                kind, start_ns=0, parent_number=call.number if call is not None else None, **options
            )
        )

    def bypass(self, **options: Any) -> None:
        """Add a bypass: three rows updated past the receivers of post_save unless told."""
        options.setdefault("operation", "update")
        options.setdefault("model", "orders.Order")
        options.setdefault("signals", (SIGNALS["post_save"],))
        options.setdefault("receivers", (label("core.orders.receivers.make_sale"),))
        options.setdefault("rows", 3)
        self.trace.bypasses.append(Bypass(start_ns=0, **options))

    def lost(
        self, receiver: ReceiverLabel, signal: str = "post_save", sender: str = "None"
    ) -> None:
        """Add a receiver that was found dead."""
        self.trace.lost_receivers.append(
            LostReceiver(SIGNALS.get(signal, signal), sender, receiver)
        )

    def build(self) -> Trace:
        """Lay out the times, fill in the counts and return the trace."""
        trace = self.trace
        clock = self.gap_ns
        trace.dispatches = []
        for root in self.roots:
            clock = self._place(root, clock, 0) + self.gap_ns
        trace.dispatches.sort(key=lambda dispatch: dispatch.number)
        trace.duration_ns = trace.duration_ns or clock
        trace.dispatch_count = len(trace.dispatches)
        calls = [call for dispatch in trace.dispatches for call in dispatch.receiver_calls]
        trace.receiver_call_count = len(calls)
        trace.error_count = sum(call.outcome is Outcome.RAISED for call in calls)
        trace.query_count = trace.query_count or sum(call.query_count for call in calls)
        trace.signal_ns = sum(root.duration_ns for root in self.roots)
        return trace

    def _place(self, dispatch: Dispatch, start: int, depth: int) -> int:
        self.trace.dispatches.append(dispatch)
        dispatch.start_ns, dispatch.depth = start, depth
        clock = start + self.gap_ns
        for call in dispatch.receiver_calls:
            call.start_ns = clock
            sent = self.sent.get(call.number, ())
            for child in sent:
                clock = self._place(child, clock, depth + 1)
            clock += call.self_ns
            call.duration_ns = clock - call.start_ns
            dispatch.query_count += call.query_count + sum(child.query_count for child in sent)
        dispatch.duration_ns = clock - start
        return clock
