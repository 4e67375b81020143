"""Traces for tests of the viewer, and clients that may or may not see them."""

from __future__ import annotations

import time
from pathlib import Path

from tests.tracing.analysis.building import MS, TraceBuilder, label
from tracing.analysis.hazards import diagnose
from tracing.exporters.database import DatabaseExporter
from tracing.spans.records import (
    Kind,
    Method,
    Outcome,
    ReceiverLabel,
    Status,
    TransactionOutcome,
    derived_root_span_id,
)
from tracing.store import cache

SITE = "/srv/.venv/lib/python3.12/site-packages"
SECOND = 1_000_000_000
RECEIVERS = Path(__file__).parents[3] / "core" / "sales" / "receivers.py"
MAKE_SALE = ReceiverLabel(
    "core.sales.receivers.make_sale", str(RECEIVERS), 19, "sales.make_sale", app="sales", mine=True
)
COUNT_CARS = ReceiverLabel(
    "core.orders.receivers.count_cars", "/app/orders.py", 9, app="orders", mine=True
)


def identify(trace, number, *, ago=60):
    """Give a built trace its id, a start some seconds ago, and its hazards."""
    trace.trace_id = f"{number:032x}"
    trace.started_ns = time.time_ns() - ago * SECOND
    trace.root_span_id = derived_root_span_id(trace.trace_id, trace.started_ns)
    trace.host, trace.process, trace.thread = "web1", 7, "MainThread"
    diagnose(trace)
    return trace


def order(number=1, *, ago=60, fails=False, slow=1, user="3", release="", name="orders:check_out"):
    """Return an order: a post_save whose receiver makes a sale, and a signal sent robustly below it."""
    build = TraceBuilder(
        name=name,
        http_method="POST",
        http_path=f"/orders/{number}/check-out/",
        http_status=500 if fails else 302,
        user_id=user,
        release=release,
        attributes={"request_id": f"r-{number}"},
    )
    saved = build.dispatch(
        instance=f"orders.Order:{number}",
        created=False,
        using="default",
        transaction=TransactionOutcome.ROLLED_BACK if fails else TransactionOutcome.COMMITTED,
        transaction_depth=1,
        at="core.orders.models.place:88",
    )
    build.call(saved, COUNT_CARS, query_count=2, own_ns=MS)
    sale = build.call(saved, MAKE_SALE, query_count=3, own_ns=slow * MS, response_type="Sale",
                      statements=[("SELECT * FROM cars WHERE id = %s", 3, 9_000)])  # fmt: skip
    made = build.dispatch(
        "core.sales.signals.sale_made",
        "sales.Sale",
        sale,
        named=("sale",),
        method=Method.SEND_ROBUST,
    )
    build.call(made, label("core.sales.receivers.print_receipt", mine=True))
    build.call(
        made,
        label("core.sales.receivers.fail_to_print", mine=True),
        outcome=Outcome.RAISED if fails else Outcome.RETURNED,
        exception_type="PrinterError" if fails else "",
        exception_message="out of paper" if fails else "",
    )
    build.trace.orphans = [("django.db.models.signals.pre_init", "cars.Car", 47)]
    build.trace.orphan_count = 47
    trace = build.build()
    if fails:
        trace.status, trace.error = Status.ERROR, "PrinterError: out of paper"
    return identify(trace, number, ago=ago)


def command(number=2, *, cars=214, ago=120, name="load_cars"):
    """Return a command that saved so many cars: repetitions to be folded."""
    build = TraceBuilder(Kind.COMMAND, name)
    for car in range(cars):
        saved = build.dispatch("post_save", "cars.Car", instance=f"cars.Car:{car}", created=True)
        build.call(
            saved,
            ReceiverLabel(
                "core.cars.receivers.give_code", "/app/cars.py", 4, app="cars", mine=True
            ),
        )
    return identify(build.build(), number, ago=ago)


def visit(number=1, *, ago=60, name="cars:list"):
    """Return a page of which only Django heard: nothing in it is mine."""
    build = TraceBuilder(name=name, http_method="GET", http_path="/cars/", http_status=200)
    build.call(
        build.dispatch("django.core.signals.request_started", "None"),
        ReceiverLabel("django.db.close_old_connections", app=""),
    )
    return identify(build.build(), number, ago=ago)


def mixed(number=1, *, ago=60):
    """Return an order of which a package heard, too, and sent a signal of its own."""
    build = TraceBuilder(name="orders:check_out")
    saved = build.dispatch("post_save", "orders.Order")
    build.call(saved, MAKE_SALE, query_count=2)
    package = build.call(
        saved, label("reversion.receivers.save", file=f"{SITE}/reversion.py"), query_count=1
    )
    sent = build.dispatch("reversion.signals.saved", "None", package)
    failing = label("reversion.receivers.log", file=f"{SITE}/reversion.py")
    build.call(sent, failing, outcome=Outcome.RAISED, exception_type="OSError")
    return identify(build.build(), number, ago=ago)


def store(*traces, shared=True):
    """Store traces, in the test's own transaction unless told otherwise."""
    cache.forget()
    exporter = DatabaseExporter(shared_connection=shared)
    exporter.export(list(traces))
    exporter.shutdown()
    return traces


def store_in_batches(traces):
    """Store many traces as the pipeline does, each batch in a transaction of its own."""
    exporter = DatabaseExporter()
    for start in range(0, len(traces), 100):
        exporter.export(traces[start : start + 100])
    exporter.shutdown()
