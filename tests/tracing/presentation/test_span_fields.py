"""Tests of what is said of a span, on every face."""

from __future__ import annotations

import pytest

from tests.tracing.analysis.building import MS, US, TraceBuilder, label
from tracing.analysis.index import Index
from tracing.analysis.tree import fold
from tracing.presentation.links import Links
from tracing.presentation.rows import Tree
from tracing.presentation.span_fields import (
    MAX_INSTANCES,
    dispatch_fields,
    linked,
    span_fields,
    transaction_text,
)
from tracing.spans.records import Outcome, TransactionOutcome


def said(fields):
    return {field.label: field.text for field in fields}


def test_everything_known_of_a_dispatch_is_among_its_fields():
    build = TraceBuilder()
    sent = build.dispatch(
        "m2m_changed",
        action="pre_add",
        reverse=True,
        pk_count=2,
        raw=True,
        created=False,
        update_fields=("total",),
        values={"note": "'hello'"},
        exception_type="OSError",
        is_detached=True,
        in_event_loop=True,
        thread="worker",
        query_count=3,
        query_ns=2 * MS,
    )
    build.call(sent, own_ns=4 * MS)
    trace = build.build()

    found = said(span_fields(Index(trace), sent))

    assert found == {
        "Signal": "django.db.models.signals.m2m_changed",
        "Sender": "orders.Order",
        "Time": "4.00 ms (100 % of the trace), self time 1.00 µs, from 1.00 µs on",
        "Queries, all below": "3 queries, 2.00 ms",
        "Sent by": "checkout (/app/core/views.py:10)",
        "Sent with": "send()",
        "Action": "pre_add, from the other side of the relation, 2 primary keys",
        "Created": "no",
        "Raw": "yes: loaded from a fixture",
        "update_fields": "total",
        "note =": "'hello'",
        "Transaction": "none: autocommit",
        "Raised": "OSError",
        "Detached": "ran later, in work that its parent had started and not waited for",
        "Thread": "worker",
        "Event loop": "sent synchronously in the thread of a running loop",
    }


def test_everything_known_of_a_receiver_call_is_among_its_fields():
    build = TraceBuilder()
    sent = build.dispatch()
    receiver = label(
        "core.x.f", dispatch_uid="uid", weak=False, is_async=True, app="x", any_sender=True
    )
    call = build.call(
        sent, receiver, own_ns=4 * MS, response_type="Sale", thread_switch_ns=5 * US, duplicate_of=0
    )
    trace = build.build()

    found = said(span_fields(Index(trace), call))

    assert found == {
        "Receiver": "core.x.f",
        "Defined": f"/app/core/x.py:{receiver.line}",
        "Outcome": "returned, a Sale object",
        "Time": "4.00 ms (100 % of the trace), self time 4.00 ms, from 2.00 µs on",
        "Thread switch": "5.00 µs to another thread and back",
        "Connected": "strongly, async, for any sender, dispatch_uid uid",
        "Application": "x",
        "Connected twice": "the same function as the receiver in place 1",
        "Dispatch": "post_save of orders.Order",
    }


def test_self_time_is_divided_where_the_cpu_clock_was_read():
    build = TraceBuilder()
    sent = build.dispatch()
    call = build.call(sent, own_ns=9 * MS, query_count=1, query_ns=2 * MS, cpu_ns=3 * MS)
    twice = build.call(sent, call.receiver, own_ns=MS, cpu_ns=0)
    trace = build.build()

    found = said(span_fields(Index(trace), call))
    (node,) = fold(trace)[0].children
    folded = said(span_fields(Index(trace), twice, node))

    assert found["Self time is"] == "3.00 ms computing, 2.00 ms SQL, 4.00 ms waiting"
    assert folded["Self time is"] == "3.00 ms computing, 2.00 ms SQL, 5.00 ms waiting"
    assert "Self time is" not in said(span_fields(Index(trace), sent))


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"outcome": Outcome.SKIPPED, "own_ns": 0}, "skipped: an earlier receiver raised"),
        (
            {
                "outcome": Outcome.RAISED,
                "exception_type": "OSError",
                "exception_message": "no route",
            },
            "raised: OSError: no route",
        ),
        ({"outcome": Outcome.RAISED, "exception_type": "OSError"}, "raised: OSError"),
        ({"outcome": Outcome.CANCELLED}, "cancelled"),
    ],
)
def test_the_outcome_of_a_call_is_said_with_its_reason(options, text):
    build = TraceBuilder()
    call = build.call(build.dispatch(), **options)

    found = said(span_fields(Index(build.build()), call))

    assert found["Outcome"] == text
    assert ("Time" in found) is (call.outcome is not Outcome.SKIPPED)


def test_folded_spans_have_the_time_of_all_and_name_some_instances():
    build = TraceBuilder()
    for number in range(20):
        build.call(build.dispatch(instance=f"orders.Order:{number:02}"), own_ns=2 * MS)
    trace = build.build()
    (row, _) = Tree(trace).rows()

    found = said(span_fields(Index(trace), row.span, row.node))

    assert found["Time"].endswith("2.00 ms on average, longest 2.00 ms")
    assert found["Instances"].count("orders.Order:") == MAX_INSTANCES
    assert found["Instances"].endswith("and 8 more")


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({}, "none: autocommit"),
        ({"using": "default"}, "none: autocommit on default"),
        (
            {
                "transaction": TransactionOutcome.COMMITTED,
                "transaction_depth": 1,
                "using": "default",
            },
            "atomic on default: committed",
        ),
        (
            {"transaction": TransactionOutcome.SAVEPOINT_ROLLED_BACK, "transaction_depth": 2},
            "atomic, block 2: its savepoint was rolled back",
        ),
    ],
)
def test_the_transaction_of_a_dispatch_is_said_in_words(options, text):
    assert transaction_text(TraceBuilder().dispatch(**options)) == text


def test_arguments_are_named_where_their_values_were_not_kept():
    build = TraceBuilder()
    sent = build.dispatch(named=("order", "buyer"), callsite=None)

    found = said(dispatch_fields(build.build(), sent))

    assert (found["Further arguments"], found["Sent by"]) == ("order, buyer", "unknown code")


def test_fields_link_to_what_they_name(settings):
    settings.TRACING = {**settings.TRACING, "VIEWER": {"EDITOR": "vscode"}}
    build = TraceBuilder()
    sent = build.dispatch(instance="orders.Order:1")
    call = build.call(sent, label("core.x.f"))
    trace = build.build()
    fields = [*span_fields(Index(trace), call), *dispatch_fields(trace, sent)]

    viewer, panel, none = (
        {field.label: field.address for field in linked(fields, found) if field.address}
        for found in (Links(trace.address), Links(trace.address, of="panel"), Links("", of="panel"))
    )

    file = f"vscode://file/app/core/x.py:{call.receiver.line}"
    assert viewer["Defined"] == panel["Defined"] == none["Defined"] == file
    assert viewer["Dispatch"] == f"/tracing/traces/{trace.address}/spans/{sent.number}/"
    assert viewer["Instance"] == "/tracing/?q=instance%3Aorders.Order%3A1"
    assert set(panel) == {"Defined", "Sent by", "Dispatch"}
    assert set(none) == {"Defined", "Sent by"}


@pytest.mark.parametrize(
    ("tracing", "link"),
    [
        ({"PANEL": {"EDITOR": "mine://{file}?l={line}"}}, "mine:///app/a%20b.py?l=1"),
        ({"PANEL": {"EDITOR": "vscode"}}, "vscode://file/app/a%20b.py:1"),
        ({"VIEWER": {"EDITOR": "zed"}}, "zed://file/app/a%20b.py:1"),
        (
            {"VIEWER": {"EDITOR": "zed"}, "PANEL": {"EDITOR": "nova"}},
            "nova://open?path=/app/a%20b.py&line=1",
        ),
        ({"PANEL": {"EDITOR": "javascript:alert('{file}')"}}, ""),
        ({}, ""),
    ],
)
def test_places_link_to_the_editor_that_the_settings_name(settings, tracing, link):
    settings.TRACING = {**settings.TRACING, **tracing}

    assert Links("", of="panel").editor("/app/a b.py", 0) == link
    assert Links("", of="panel").editor("", 1) == ""
