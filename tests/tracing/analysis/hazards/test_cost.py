"""Tests of the rules about time, queries, models, async sends and budgets."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from tests.tracing.analysis.building import MS, TraceBuilder, label
from tracing.analysis.hazards import configure, diagnose, diagnose_across, find, find_again
from tracing.spans.records import Kind, Method, Outcome

NAMES = [
    "core.sales.receivers.report",
    "core.sales.services.Reporter.on_sale",
    "functools.partial(core.sales.receivers.report)",
    "core.sales.services.Reporter()",
]


def ids(build):
    return {hazard.hazard for hazard in find(build.build())}


def only(build, name):
    (hazard,) = [hazard for hazard in find(build.build()) if hazard.hazard == name]
    return hazard


# --- slow-receiver -------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("method", list(Method))
def test_slow_receiver_is_found(name, method):
    build = TraceBuilder(Kind.COMMAND)
    build.call(build.dispatch(method=method), name, own_ns=150 * MS, query_ns=40 * MS)
    hazard = only(build, "slow-receiver")

    assert hazard.receiver == name
    assert "took 150 ms of its own time for post_save of orders.Order, 40.0 ms of it in SQL" in (
        hazard.message
    )


def test_slow_receiver_names_the_slowest_call_once():
    build = TraceBuilder()
    for own in (120, 300, 130):
        build.call(build.dispatch(at=f"core.views.v:{own}"), NAMES[0], own_ns=own * MS)
    hazard = only(build, "slow-receiver")

    assert "took 300 ms" in hazard.message
    assert hazard.message.endswith("; 3 such calls in this trace.")


def test_slow_receiver_leaves_exactly_the_threshold_alone():
    build = TraceBuilder()
    build.call(build.dispatch(), own_ns=100 * MS)

    assert ids(build) == set()


def test_slow_receiver_leaves_a_receiver_that_only_waited_for_another_alone():
    build = TraceBuilder()
    outer = build.call(build.dispatch(), "core.orders.receivers.make_sale", own_ns=1 * MS)
    build.call(build.dispatch(sender="sales.Sale", under=outer), NAMES[0], own_ns=150 * MS)
    (hazard,) = find(build.build())

    assert hazard.receiver == NAMES[0]


def test_slow_receiver_leaves_many_quick_calls_alone():
    build = TraceBuilder()
    for number in range(4):
        build.call(build.dispatch(at=f"core.views.v:{number}"), own_ns=60 * MS)

    assert ids(build) == set()


def test_slow_receiver_threshold_and_severity_are_settings():
    chosen = configure({"HAZARDS": {"slow-receiver": {"threshold_ms": 5, "severity": "info"}}})
    build = TraceBuilder()
    build.call(build.dispatch(), own_ns=6 * MS)
    (hazard,) = find(build.build(), chosen)

    assert (hazard.hazard, hazard.severity) == ("slow-receiver", "info")


def test_remedy_of_a_slow_receiver_in_a_task_is_not_a_task():
    build = TraceBuilder(Kind.TASK, "shop.tasks.nightly")
    build.call(build.dispatch(), own_ns=200 * MS)

    assert only(build, "slow-receiver").remedy.startswith(
        "Make it cheaper: it runs in a task already"
    )


# --- raw-query -----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("signal", ["pre_save", "post_save", "m2m_changed"])
def test_raw_query_is_found(name, signal):
    build = TraceBuilder(Kind.COMMAND, "loaddata")
    for number in range(2):
        dispatch = build.dispatch(signal, instance=f"orders.Order:{number}", raw=True)
        build.call(dispatch, name, query_count=3)
    hazard = only(build, "raw-query")

    assert hazard.receiver == name
    assert "ran 6 queries while orders.Order was saved raw" in hazard.message


def test_raw_query_is_found_in_what_the_receiver_saves():
    build = TraceBuilder(Kind.COMMAND, "loaddata")
    call = build.call(build.dispatch(raw=True), NAMES[0])
    build.call(build.dispatch(sender="sales.Sale", under=call), "core.b", query_count=2)

    assert only(build, "raw-query").receiver == NAMES[0]


@pytest.mark.parametrize(("raw", "queries"), [(True, 0), (False, 3), (None, 3)])
def test_raw_query_leaves_alone(raw, queries):
    build = TraceBuilder(Kind.COMMAND, "loaddata")
    build.call(build.dispatch(raw=raw), query_count=queries)

    assert ids(build) == set()


# --- init-receiver-cost --------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("signal", ["pre_init", "post_init"])
def test_init_receiver_cost_is_found_for_queries(name, signal):
    build = TraceBuilder()
    for number in range(40):
        dispatch = build.dispatch(signal, "cars.Car", instance=f"cars.Car:{number}")
        build.call(dispatch, name, query_count=1)
    hazard = only(build, "init-receiver-cost")

    assert "cost 40 queries and 400 µs for 40 instances of cars.Car" in hazard.message


def test_init_receiver_cost_is_found_for_time():
    build = TraceBuilder(Kind.COMMAND)
    for _ in range(300):
        build.call(build.dispatch("post_init", "cars.Car"), own_ns=50_000)

    assert "cost 15.0 ms for 300 instances" in only(build, "init-receiver-cost").message


def test_init_receiver_cost_counts_the_queries_of_instances_inside_instances_once():
    build = TraceBuilder()
    under = None
    for _ in range(89):
        made = build.dispatch("post_init", "shop.Folder", under)
        under = build.call(made, "shop.load_parent", own_ns=1 * MS, query_count=1)

    message = only(build, "init-receiver-cost").message

    assert "cost 89 queries and 89.1 ms for 89 instances of shop.Folder" in message


def test_raw_query_counts_what_is_inside_itself_once():
    build = TraceBuilder()
    outer = build.dispatch("post_save", "shop.Folder", raw=True)
    call = build.call(outer, "shop.touch_parent", query_count=1)
    inner = build.dispatch("post_save", "shop.Folder", call, raw=True)
    build.call(inner, "shop.touch_parent", query_count=1)

    assert "ran 2 queries while shop.Folder" in only(build, "raw-query").message


def test_init_receiver_cost_leaves_cheap_receivers_alone():
    build = TraceBuilder()
    for _ in range(300):
        build.call(build.dispatch("post_init", "cars.Car"), own_ns=2_000)

    assert ids(build) == set()


def test_init_receiver_cost_leaves_one_slow_but_not_costly_instance_alone():
    build = TraceBuilder()
    build.call(build.dispatch("post_init", "cars.Car"), own_ns=9 * MS)

    assert ids(build) == set()


def test_init_receiver_cost_leaves_saves_alone():
    build = TraceBuilder()
    build.call(build.dispatch("post_save", "cars.Car"), own_ns=50 * MS, query_count=4)

    assert ids(build) == set()


# --- unfiltered-receiver -------------------------------------------------------------------------


def heard(senders, *, signal="post_save", any_sender=True, name="core.audit.log", **options):
    build = TraceBuilder(**options)
    receiver = label(name, any_sender=any_sender)
    for sender in senders:
        build.call(build.dispatch(signal, sender), receiver)
    return build


MODELS = [f"shop.Model{letter}" for letter in "ABCDE"]


@pytest.mark.parametrize(
    "name", ["core.audit.log", "core.audit.Log.on_save", "functools.partial(core.audit.log)"]
)
@pytest.mark.parametrize("signal", ["post_save", "post_delete", "m2m_changed", "post_init"])
def test_unfiltered_receiver_is_found(name, signal):
    hazard = only(heard(MODELS, name=name, signal=signal), "unfiltered-receiver")

    assert f"is connected to {signal} without a sender and ran for 5 models" in hazard.message
    assert hazard.sender == "None"
    assert hazard.severity == "info"


def test_unfiltered_receiver_leaves_four_models_alone():
    assert ids(heard(MODELS[:4] * 3)) == set()


def test_unfiltered_receiver_leaves_a_receiver_connected_to_each_model_alone():
    assert ids(heard(MODELS, any_sender=False)) == set()


def test_unfiltered_receiver_leaves_a_receiver_of_an_installed_package_alone():
    receiver = label("audit.log", file="/venv/lib/python3.12/site-packages/audit.py")
    build = TraceBuilder()
    for sender in MODELS:
        build.call(build.dispatch("post_save", sender), replace(receiver, any_sender=True))

    assert ids(build) == set()


def test_unfiltered_receiver_is_found_in_an_installed_package_that_is_mine():
    receiver = label("shop.log", file="/venv/lib/python3.12/site-packages/shop.py", mine=True)
    build = TraceBuilder()
    for sender in MODELS:
        build.call(build.dispatch("post_save", sender), replace(receiver, any_sender=True))

    assert ids(build) == {"unfiltered-receiver"}


def test_unfiltered_receiver_leaves_other_signals_alone():
    assert ids(heard(MODELS, signal="order_placed")) == set()
    assert ids(heard(MODELS, signal="django.db.models.signals.post_migrate")) == set()


def test_unfiltered_receiver_is_found_across_traces_and_belongs_to_none():
    traces = [heard([model]).build() for model in MODELS]
    (hazard,) = diagnose_across(traces)

    assert hazard.trace_id is None
    assert "ran for 5 models" in hazard.message
    assert hazard.numbers == []


def test_unfiltered_receiver_found_in_one_trace_is_not_found_again_across():
    traces = [heard(MODELS).build(), heard(MODELS[:1]).build()]

    assert diagnose_across(traces) == []


# --- sync-send-in-loop ---------------------------------------------------------------------------


@pytest.mark.parametrize("method", [Method.SEND, Method.SEND_ROBUST])
@pytest.mark.parametrize("name", NAMES[:3])
def test_sync_send_in_loop_is_found(name, method):
    build = TraceBuilder()
    dispatch = build.dispatch("order_placed", method=method, in_event_loop=True)
    build.call(dispatch, "core.sales.receivers.count")
    build.call(dispatch, label(name, is_async=True), outcome=Outcome.UNKNOWN)
    hazard = only(build, "sync-send-in-loop")

    assert hazard.message.startswith("checkout (/app/core/views.py:10) called ")
    assert "inside a running event loop, where the async " in hazard.message
    assert hazard.receiver == name


def test_sync_send_in_loop_is_found_by_djangos_error():
    build = TraceBuilder()
    dispatch = build.dispatch("order_placed", exception_type="RuntimeError")
    build.call(dispatch, label(NAMES[0], is_async=True), outcome=Outcome.UNKNOWN)

    assert "sync-send-in-loop" in ids(build)


@pytest.mark.parametrize(
    ("method", "in_loop", "is_async"),
    [
        (Method.SEND, False, True),
        (Method.SEND, True, False),
        (Method.ASEND, True, True),
        (Method.ASEND_ROBUST, True, True),
    ],
)
def test_sync_send_in_loop_leaves_alone(method, in_loop, is_async):
    build = TraceBuilder()
    dispatch = build.dispatch("order_placed", method=method, in_event_loop=in_loop)
    build.call(dispatch, label(NAMES[0], is_async=is_async))

    assert ids(build) == set()


def test_sync_send_in_loop_leaves_a_receivers_own_runtime_error_alone():
    build = TraceBuilder()
    dispatch = build.dispatch("order_placed", exception_type="RuntimeError")
    build.call(dispatch, outcome=Outcome.RAISED, exception_type="RuntimeError")
    build.call(dispatch, label(NAMES[1], is_async=True), outcome=Outcome.UNKNOWN)

    assert ids(build) == set()


# --- async-hop -----------------------------------------------------------------------------------


@pytest.mark.parametrize("method", [Method.ASEND, Method.ASEND_ROBUST])
@pytest.mark.parametrize("name", NAMES[:3])
def test_async_hop_is_found_when_hops_add_up(name, method):
    build = TraceBuilder()
    for number in range(3):
        dispatch = build.dispatch("order_placed", method=method, at=f"core.views.v:{number}")
        build.call(dispatch, name, thread_switch_ns=2 * MS)
    hazard = only(build, "async-hop")

    assert hazard.message.startswith("3 hops into a thread cost 6.00 ms, because ")
    assert hazard.receiver == name


@pytest.mark.parametrize(
    ("method", "thread_switch_ns"),
    [(Method.ASEND, 1 * MS), (Method.ASEND, 5 * MS // 2), (Method.SEND, 90 * MS)],
)
def test_async_hop_leaves_alone(method, thread_switch_ns):
    build = TraceBuilder()
    for number in range(2):
        dispatch = build.dispatch("order_placed", method=method, at=f"core.views.v:{number}")
        build.call(dispatch, thread_switch_ns=thread_switch_ns)

    assert ids(build) == set()


def test_async_hop_of_django_alone_is_left_alone():
    build = TraceBuilder()
    for number in range(3):
        dispatch = build.dispatch(
            "django.core.signals.request_started", method=Method.ASEND, at=f"core.views.v:{number}"
        )
        build.call(dispatch, "django.db.reset_queries", thread_switch_ns=4 * MS)

    assert ids(build) == set()


# --- never-awaited -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    [
        "core.sales.services.Reporter()",
        "core.sales.apps.<lambda>",
        "core.sales.receivers.decorated",
        "functools.partial(core.sales.services.Reporter())",
    ],
)
@pytest.mark.parametrize("method", [Method.SEND, Method.SEND_ROBUST, Method.ASEND])
def test_never_awaited_is_found(name, method):
    build = TraceBuilder()
    build.call(build.dispatch("order_placed", method=method), name, response_type="coroutine")
    hazard = only(build, "never-awaited")

    assert hazard.receiver == name
    assert "returned a coroutine that nobody awaits" in hazard.message


@pytest.mark.parametrize(
    ("is_async", "response"), [(True, "coroutine"), (False, ""), (False, "dict"), (True, "")]
)
def test_never_awaited_leaves_alone(is_async, response):
    build = TraceBuilder()
    receiver = label(NAMES[0], is_async=is_async)
    build.call(build.dispatch("order_placed"), receiver, response_type=response)

    assert ids(build) == set()


# --- budget-exceeded -----------------------------------------------------------------------------


def spending(kind=Kind.REQUEST, name="orders:checkout", **options):
    build = TraceBuilder(kind, name, **options)
    for number in range(4):
        dispatch = build.dispatch(at=f"core.views.v:{number}")
        build.call(dispatch, NAMES[0], own_ns=10 * MS, query_count=5)
    return build.build()


@pytest.mark.parametrize(
    ("kind", "name", "budget", "message"),
    [
        (
            Kind.REQUEST,
            "orders:checkout",
            {"name": "orders:*", "dispatches": 3},
            "orders:checkout used 4 dispatches, more than its budget of 3",
        ),
        (
            Kind.COMMAND,
            "load_cars",
            {"kind": "command", "name": "load_cars", "queries": 10},
            "load_cars used 20 queries, more than its budget of 10",
        ),
        (
            Kind.TEST,
            "tests/test_a.py::test_b",
            {"kind": "test", "receiver_ms": 30},
            "tests/test_a.py::test_b used 40 ms in receivers, more than its budget of 30",
        ),
        (
            Kind.REQUEST,
            "x",
            {"receiver_ms": 39.996},
            "x used 40.004 ms in receivers, more than its budget of 39.996",
        ),
        (
            Kind.REQUEST,
            "x",
            {"name": "/check*", "receiver_queries": 19, "duration_ms": 9000},
            "x used 20 queries in receivers, more than its budget of 19",
        ),
    ],
)
def test_budget_exceeded_is_found(kind, name, budget, message):
    chosen = configure({"BUDGETS": [budget]})
    (hazard,) = find(spending(kind, name, http_path="/checkout/"), chosen)

    assert hazard.hazard == "budget-exceeded"
    assert hazard.message.startswith(message)
    assert "most of it by report (/app/core/sales/receivers.py:" in hazard.message


def test_budget_exceeded_names_nobody_where_nobody_used_most():
    build = TraceBuilder()
    dispatch = build.dispatch()
    build.call(dispatch, "core.sales.receivers.one")
    build.call(dispatch, "core.sales.receivers.two")
    (hazard,) = find(build.build(), configure({"BUDGETS": [{"receiver_calls": 1}]}))

    assert hazard.message.endswith(" used 2 receiver calls, more than its budget of 1.")


@pytest.mark.parametrize(
    "budget",
    [
        {"name": "orders:*", "dispatches": 4},
        {"name": "cars:*", "dispatches": 1},
        {"kind": "command", "dispatches": 1},
        {"name": "orders:checkout"},
    ],
)
def test_budget_exceeded_leaves_alone(budget):
    assert find(spending(), configure({"BUDGETS": [budget]})) == []


def test_budget_exceeded_waits_for_the_last_segment():
    trace = spending()
    trace.final = False

    assert find(trace, configure({"BUDGETS": [{"dispatches": 1}]})) == []


def test_raw_query_of_a_stored_trace_is_what_was_found_when_it_was_recorded(settings):
    build = TraceBuilder(Kind.COMMAND, "loaddata")
    for receiver, statement in (
        ("core.cars.receivers.count", "SELECT 1"),
        ("core.cars.receivers.guarded", "SAVEPOINT x"),
    ):
        build.call(build.dispatch(raw=True), receiver, statements=[(statement, 1, 100)])
    trace = build.build()
    found = diagnose(trace)
    for dispatch in trace.dispatches:
        dispatch.receiver_calls[0].statements = []

    assert [hazard.receiver for hazard in found] == ["core.cars.receivers.count"]
    assert find_again(trace) == found
    settings.TRACING = {**settings.TRACING, "KNOWN_HAZARDS": ["raw-query:*.guarded"]}
    assert [bool(hazard.known) for hazard in find_again(trace)] == [True, False]


def test_signal_without_a_sender_is_named_alone():
    build = TraceBuilder()
    build.call(build.dispatch("order_placed", "None"), own_ns=200 * MS)

    assert only(build, "slow-receiver").message.endswith(" of its own time for order_placed.")
