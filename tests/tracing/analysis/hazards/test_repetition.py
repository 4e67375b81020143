"""Tests of the rules about receivers, calls and queries that repeat."""

from __future__ import annotations

import pytest

from tests.tracing.analysis.building import TraceBuilder, label
from tracing.analysis.hazards import diagnose, find, find_again
from tracing.spans.records import Kind, Method, Outcome


def ids(build):
    return {hazard.hazard for hazard in find(build.build())}


def only(build, name):
    (hazard,) = [hazard for hazard in find(build.build()) if hazard.hazard == name]
    return hazard


# --- duplicate-receiver --------------------------------------------------------------------------


def twice(first, second, *, duplicate_of=None, **options):
    build = TraceBuilder()
    dispatch = build.dispatch(**options)
    build.call(dispatch, first)
    build.call(dispatch, second, duplicate_of=duplicate_of)
    return build


def test_duplicate_receiver_is_found_under_two_import_paths():
    place = {"file": "/app/core/orders/receivers.py", "line": 30}
    hazard = only(
        twice(
            label("core.orders.receivers.make_sale", **place),
            label("orders.receivers.make_sale", **place),
            duplicate_of=0,
        ),
        "duplicate-receiver",
    )

    assert hazard.message == (
        "make_sale (/app/core/orders/receivers.py:30) runs twice for one post_save of "
        "orders.Order: it is connected as core.orders.receivers.make_sale and as "
        "orders.receivers.make_sale."
    )
    assert hazard.numbers == [2, 3]
    assert (hazard.file, hazard.line) == ("/app/core/orders/receivers.py", 30)


def test_duplicate_receiver_is_found_under_two_uids():
    name = "core.orders.receivers.make_sale"
    hazard = only(
        twice(label(name, dispatch_uid="a"), label(name, dispatch_uid="b"), duplicate_of=0),
        "duplicate-receiver",
    )

    assert hazard.message.endswith("connected with dispatch_uid 'a' and dispatch_uid 'b'.")


def test_duplicate_receiver_is_found_with_and_without_a_sender():
    name = "core.orders.receivers.make_sale"
    hazard = only(
        twice(label(name), label(name, any_sender=True), duplicate_of=0), "duplicate-receiver"
    )

    assert hazard.message.endswith("connected once for this sender and once for every sender.")


@pytest.mark.parametrize(
    "name",
    [
        "core.orders.apps.make.<locals>.receive",
        "core.orders.services.Indexer.on_save",
        "functools.partial(core.orders.receivers.make_sale)",
        "core.orders.services.Indexer()",
    ],
)
@pytest.mark.parametrize("method", [Method.SEND, Method.ASEND])
def test_duplicate_receiver_is_found_where_the_recording_saw_twins(name, method):
    build = TraceBuilder()
    dispatch = build.dispatch("order_placed", method=method)
    build.call(dispatch, name)
    build.call(dispatch, "core.mail.send")
    build.call(dispatch, name, duplicate_of=0)
    hazard = only(build, "duplicate-receiver")

    assert hazard.receiver == name
    assert hazard.numbers == [2, 4]
    assert hazard.message.endswith("two objects made by the same code are connected.")


def test_duplicate_receiver_is_reported_once_for_many_dispatches():
    build = TraceBuilder()
    for number in range(4):
        dispatch = build.dispatch(instance=f"orders.Order:{number}", at=f"core.views.v:{number}")
        for uid, duplicate_of in (("a", None), ("b", 0)):
            receiver = label("core.orders.receivers.make_sale", dispatch_uid=uid)
            build.call(dispatch, receiver, duplicate_of=duplicate_of)

    assert len(only(build, "duplicate-receiver").numbers) == 8


def test_duplicate_receiver_leaves_one_that_was_skipped_alone():
    build = TraceBuilder()
    dispatch = build.dispatch()
    build.call(dispatch, "core.mail.send", outcome=Outcome.RAISED, exception_type="ValueError")
    build.call(dispatch, "core.mail.send", outcome=Outcome.SKIPPED, duplicate_of=0)

    assert "duplicate-receiver" not in ids(build)


def test_duplicate_receiver_leaves_decorators_with_different_arguments_alone():
    name = "core.orders.receivers.index"

    assert ids(twice(label(name, dispatch_uid="a"), label(name, dispatch_uid="b"))) == set()


def test_duplicate_receiver_leaves_two_functions_of_one_name_alone():
    assert ids(twice("core.orders.receivers.index", "core.cars.receivers.index")) == set()


def test_duplicate_receiver_leaves_a_factory_with_different_arguments_alone():
    name = "core.orders.apps.make.<locals>.receive"

    assert ids(twice(label(name, dispatch_uid="a"), label(name, dispatch_uid="b"))) == set()


def test_duplicate_receiver_leaves_two_lambdas_and_two_methods_of_one_line_alone():
    lambdas = [label("core.orders.apps.<lambda>", line=3, dispatch_uid=uid) for uid in "ab"]
    methods = [label("core.search.Indexer.on_save", dispatch_uid=uid) for uid in "ab"]

    assert ids(twice(*lambdas)) == set()
    assert ids(twice(*methods)) == set()


def test_duplicate_receiver_leaves_one_function_for_two_senders_alone():
    build = TraceBuilder()
    for sender in ("orders.Order", "sales.Sale"):
        uid = f"index-{sender}"
        build.call(build.dispatch(sender=sender), label("core.search.index", dispatch_uid=uid))

    assert ids(build) == set()


# --- repeated-receiver ---------------------------------------------------------------------------


def calls(times, *, kind=Kind.REQUEST, receiver="core.orders.receivers.total", **options):
    build = TraceBuilder(kind)
    under = None
    if options.pop("inside", False):
        under = build.call(build.dispatch("order_placed"), "core.sales.receivers.place")
    for number in range(times):
        values = {
            name: value.format(n=number) if isinstance(value, str) else value
            for name, value in options.items()
        }
        build.call(build.dispatch(under=under, **values), receiver)
    return build


def test_repeated_receiver_is_found_for_one_instance_saved_again_and_again():
    hazard = only(calls(5, instance="orders.Order:1", at="core.views.v:{n}"), "repeated-receiver")

    assert hazard.message == (
        "total (/app/core/orders/receivers.py:149) runs 5 times for post_save of orders.Order:1, "
        "sent at /app/core/views.py, /app/core/views.py:1, /app/core/views.py:2 and 2 more."
    )
    assert len(hazard.numbers) == 5


@pytest.mark.parametrize(
    "options",
    [
        {"instance": "cars.Car:{n}", "sender": "cars.Car"},
        {"instance": "cars.Car:{n}", "sender": "cars.Car", "kind": Kind.COMMAND},
        {"signal": "pre_save", "instance": "cars.Car:None", "sender": "cars.Car"},
        {"signal": "m2m_changed", "instance": "orders.Order:{n}", "action": "post_add"},
        {"signal": "order_placed", "sender": "None"},
        {"signal": "order_placed", "instance": "orders.Order:{n}", "method": Method.ASEND},
        {"instance": "cars.Car:{n}", "inside": True, "kind": Kind.TEST},
        {"instance": "cars.Car:{n}", "receiver": "core.search.Indexer.on_save"},
        {"instance": "cars.Car:{n}", "receiver": "functools.partial(core.search.index)"},
    ],
)
def test_repeated_receiver_is_found_for_a_loop_that_saves_one_by_one(options):
    hazard = only(calls(6, **options), "repeated-receiver")

    assert "runs 6 times" in hazard.message
    assert "/app/core/views.py:10" in hazard.message


@pytest.mark.parametrize(
    "options",
    [
        {"times": 4, "instance": "cars.Car:{n}"},
        {"times": 4, "instance": "orders.Order:1"},
        {"times": 9, "instance": "cars.Car:{n}", "at": "core.views.v:{n}"},
        {"times": 9, "instance": "cars.Car:{n}", "raw": True},
        {"times": 9, "instance": "cars.Car:{n}", "signal": "post_delete"},
        {"times": 9, "instance": "cars.Car:{n}", "kind": Kind.TEST},
        {"times": 9, "signal": "django.db.models.signals.post_migrate", "sender": "apps.{n}"},
        {"times": 9, "signal": "django.test.signals.setting_changed", "sender": "None"},
        {"times": 9, "instance": "cars.Car:{n}", "signal": "post_init"},
    ],
)
def test_repeated_receiver_leaves_alone(options):
    assert "repeated-receiver" not in ids(calls(**options))


def test_repeated_receiver_leaves_recursion_to_its_own_rule():
    build = TraceBuilder()
    call = None
    for _ in range(8):
        call = build.call(build.dispatch(instance="orders.Order:1", under=call, created=False))

    assert ids(build) == {"recursion", "repeated-save"}


# --- n-plus-one ----------------------------------------------------------------------------------

SQL = 'SELECT "cars_car"."price" FROM "cars_car" WHERE "id" = %s'


def test_n_plus_one_is_found_in_one_call():
    build = TraceBuilder()
    build.call(build.dispatch(), "core.orders.receivers.total", statements=[(SQL, 12, 4_200_000)])
    hazard = only(build, "n-plus-one")

    assert hazard.message == (
        "total (/app/core/orders/receivers.py:149) runs one query 12 times in one call (4.20 ms): "
        f"{SQL}"
    )
    assert hazard.numbers == [2]


@pytest.mark.parametrize(
    ("receiver", "kind", "method"),
    [
        ("core.orders.services.Totals.on_save", Kind.REQUEST, Method.SEND),
        ("functools.partial(core.orders.receivers.total)", Kind.COMMAND, Method.SEND_ROBUST),
        ("core.orders.services.Totals()", Kind.TASK, Method.ASEND),
    ],
)
def test_n_plus_one_is_found_over_several_calls(receiver, kind, method):
    build = TraceBuilder(kind)
    for number in range(5):
        dispatch = build.dispatch(
            instance=f"cars.Car:{number}", at=f"core.views.v:{number}", method=method
        )
        build.call(dispatch, receiver, statements=[(SQL, 1, 100_000), ("SELECT 2", 1, 1)])
    hazard = only(build, "n-plus-one")

    assert "runs one query 5 times in 5 calls" in hazard.message
    assert len(hazard.evidence) == 2


def test_n_plus_one_leaves_few_and_different_queries_alone():
    build = TraceBuilder()
    for number in range(4):
        build.call(build.dispatch(at=f"core.views.v:{number}"), statements=[(SQL, 1, 1)])
    build.call(
        build.dispatch(sender="cars.Car"),
        "core.cars.receivers.index",
        statements=[(f"SELECT {number}", 1, 1) for number in range(9)],
    )

    assert ids(build) == set()


def test_n_plus_one_leaves_savepoints_alone():
    build = TraceBuilder()
    build.call(build.dispatch(), statements=[("SAVEPOINT s", 9, 1), ("RELEASE SAVEPOINT s", 9, 1)])

    assert ids(build) == set()


def test_n_plus_one_leaves_the_same_query_of_different_receivers_alone():
    build = TraceBuilder()
    dispatch = build.dispatch()
    for name in "abcdef":
        build.call(dispatch, f"core.orders.receivers.{name}", statements=[(SQL, 1, 1)])

    assert ids(build) == set()


def test_n_plus_one_of_a_trace_kept_without_statements_is_what_was_found_then(settings):
    build = TraceBuilder()
    for number in range(6):
        sent = build.dispatch(instance=f"orders.Order:{number}", at=f"core.views.v:{number}")
        build.call(sent, statements=[("SELECT 1", 1, 100)])
    trace = build.build()
    found = diagnose(trace)
    for dispatch in trace.dispatches:
        dispatch.receiver_calls[0].statements = []

    assert [hazard.hazard for hazard in found] == ["n-plus-one"]
    assert find(trace) == []
    assert find_again(trace) == found
    settings.TRACING = {**settings.TRACING, "HAZARDS": {"n-plus-one": {"severity": "info"}}}
    assert [hazard.severity for hazard in find_again(trace)] == ["info"]
    settings.TRACING = {**settings.TRACING, "KNOWN_HAZARDS": ["n-plus-one"]}
    assert find_again(trace)[0].known
    settings.TRACING = {**settings.TRACING, "HAZARDS": {"n-plus-one": False}}
    assert find_again(trace) == []


def test_another_receiver_of_what_one_saves_again_and_again_repeats():
    build = TraceBuilder()
    outer = build.dispatch(instance="orders.Order:1", created=False)
    stamping = build.call(outer, "core.orders.receivers.stamp")
    build.call(outer, "core.orders.receivers.index")
    for line in range(5):
        inner = build.dispatch(
            instance="orders.Order:1", under=stamping, at=f"core.orders.receivers.stamp:{line + 3}"
        )
        build.call(inner, "core.orders.receivers.index")
    hazard = only(build, "repeated-receiver")

    assert hazard.receiver == "core.orders.receivers.index"
    assert "index (" in hazard.message
    assert " runs 6 times for post_save of orders.Order:1" in hazard.message


def test_repeated_receiver_of_labels_that_are_equal_but_not_the_same():
    build = TraceBuilder()
    for number in range(5):
        build.call(build.dispatch(instance=f"cars.Car:{number}"), label("core.cars.receivers.code"))
    hazard = only(build, "repeated-receiver")

    assert " runs 5 times (" in hazard.message


def test_evidence_of_many_is_cut_and_counted():
    build = TraceBuilder()
    for number in range(80):
        build.call(build.dispatch(instance=f"cars.Car:{number}"), "core.cars.receivers.code")
    hazard = only(build, "repeated-receiver")

    assert hazard.numbers == list(range(2, 102, 2))
    assert len(hazard.evidence) == 13
    assert hazard.evidence[-1] == "and 68 more"
