"""Traces for tests of the panel."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tests.tracing.analysis.building import MS, TraceBuilder, label
from tracing.spans.records import Outcome

if TYPE_CHECKING:
    from tracing.spans.records import Trace


def order_trace(**options: Any) -> Trace:
    """Build a request that saves an order: a nested save, a failing receiver, an orphan."""
    builder = TraceBuilder(**options)
    saved = builder.dispatch("post_save", "orders.Order", instance="orders.Order:42", created=True)
    make_sale = builder.call(saved, "core.orders.receivers.make_sale", own_ns=2 * MS, query_count=3)
    nested = builder.dispatch("post_save", "cars.Car", make_sale, instance="cars.Car:7")
    builder.call(nested, "core.cars.receivers.update_buyer", own_ns=5 * MS, query_count=2)
    builder.call(
        saved,
        "core.orders.receivers.notify",
        own_ns=1 * MS,
        outcome=Outcome.RAISED,
        exception_type="OSError",
        exception_message="no route",
    )
    builder.call(saved, "core.orders.receivers.audit", own_ns=0, outcome=Outcome.SKIPPED)
    builder.bypass()
    trace = builder.build()
    trace.orphans = [("django.db.models.signals.pre_save", "orders.Order", 3)]
    trace.orphan_count = 3
    return trace


def mixed_trace() -> Trace:
    """Build a request of which one receiver of the project's own heard, slower ones of packages, too."""
    builder = TraceBuilder()
    begun = builder.dispatch("request_started", "None")
    builder.call(begun, "django.db.close_old_connections", own_ns=9 * MS)
    saved = builder.dispatch("post_save", "orders.Order")
    builder.call(saved, label("core.orders.receivers.make_sale", mine=True), own_ns=2 * MS)
    for _ in range(2):
        builder.call(
            saved, "reversion.save", own_ns=5 * MS, outcome=Outcome.RAISED, exception_type="E"
        )
    return builder.build()


def foreign_trace() -> Trace:
    builder = TraceBuilder()
    builder.call(builder.dispatch("request_started", "None"), "django.db.close_old_connections")
    return builder.build()
