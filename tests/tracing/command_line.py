"""Running ``manage.py tracing`` in tests, and traces for it to read."""

from __future__ import annotations

import io
import json
import re
from datetime import UTC, datetime

import pytest
from django.core.management import CommandError, call_command

from tests.tracing.analysis.building import MS, TraceBuilder, label
from tracing.exporters.database import DatabaseExporter
from tracing.spans.records import Kind, Outcome, derived_root_span_id

NOON_NS = int(datetime(2026, 11, 22, 12, tzinfo=UTC).timestamp()) * 1_000_000_000
ANSI = re.compile(r"\x1b\[")


class Screen(io.StringIO):
    """A terminal that somebody looks at."""

    def isatty(self):
        return True


def own(name):
    """Return the label of a receiver that is mine."""
    return label(name, mine=True)


def checkout(number=1, *, release="", own_ms=5, queries=1):
    """Return an order with a sale below it, an error and a mail."""
    build = TraceBuilder(
        http_method="POST", http_path=f"/checkout/{number}/", http_status=302, release=release
    )
    placed = build.dispatch(
        instance=f"orders.Order:{number}", created=True, at="core.orders.models.place:88"
    )
    make = build.call(
        placed, own("core.orders.receivers.make_sale"), own_ns=own_ms * MS, query_count=2
    )
    build.call(placed, own("core.search.Indexer.on_save"), query_count=queries)
    sold = build.dispatch("order_placed", "None", make, method="send_robust")
    build.call(
        sold,
        own("core.mail.thank"),
        outcome=Outcome.RAISED,
        exception_type="OSError",
        exception_message="no \x1b[31mroute",
        statements=[("SELECT 1", 1, 1000)],
    )
    trace = build.build()
    trace.trace_id = f"{number:08x}" + "ab" * 12
    trace.started_ns = NOON_NS + number * 60 * 1_000_000_000
    trace.root_span_id = derived_root_span_id(trace.trace_id, trace.started_ns)
    return trace


def command(number, name, **options):
    build = TraceBuilder(Kind.COMMAND, name, **options)
    build.call(build.dispatch(sender="cars.Car"), own("core.cars.receivers.give_code"))
    trace = build.build()
    trace.trace_id = f"{number:08x}" + "cd" * 12
    trace.started_ns = NOON_NS + number * 60 * 1_000_000_000
    trace.root_span_id = derived_root_span_id(trace.trace_id, trace.started_ns)
    return trace


def store(*traces, shared=True):
    """Store traces, in the test's own transaction unless told otherwise."""
    exporter = DatabaseExporter(shared_connection=shared)
    exporter.export(list(traces))
    exporter.shutdown()
    return traces


def run(*arguments, **options):
    """Run a verb; return its output."""
    stdout = io.StringIO()
    call_command("tracing", *map(str, arguments), stdout=stdout, **options)
    return stdout.getvalue()


def run_json(*arguments):
    return json.loads(run(*arguments, "--format", "json"))


def code_of(*arguments, **options):
    """Run a verb that is to end with an exit code other than 0; return it and the output."""
    stdout = io.StringIO()
    with pytest.raises(SystemExit) as ending:
        call_command("tracing", *map(str, arguments), stdout=stdout, **options)
    return ending.value.code, stdout.getvalue()


def error_of(*arguments):
    with pytest.raises(CommandError) as ending:
        run(*arguments)
    return ending.value.returncode, str(ending.value)
