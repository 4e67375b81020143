"""Tests of the rules about receivers that raised, were skipped, bypassed or lost."""

from __future__ import annotations

import pytest
from django.core.files.storage import mixins

from tests.tracing.analysis.building import TraceBuilder, label
from tracing.analysis.hazards import find
from tracing.spans.records import Callsite, Kind, Method, Outcome

NAMES = [
    "core.sales.receivers.notify",
    "core.sales.services.Notifier.on_sale",
    "functools.partial(core.sales.receivers.notify)",
    "core.sales.services.Notifier()",
]


def ids(build):
    return {hazard.hazard for hazard in find(build.build())}


def only(build, name):
    (hazard,) = [hazard for hazard in find(build.build()) if hazard.hazard == name]
    return hazard


# --- swallowed-error -----------------------------------------------------------------------------


def raising(method, name=NAMES[0], *, kind=Kind.REQUEST, after=(), **options):
    build = TraceBuilder(kind)
    dispatch = build.dispatch("order_placed", method=method, **options)
    build.call(
        dispatch,
        name,
        outcome=Outcome.RAISED,
        exception_type="ValueError",
        exception_message="no price",
    )
    for other in after:
        build.call(dispatch, other, outcome=Outcome.SKIPPED, own_ns=0)
    return build


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("method", [Method.SEND_ROBUST, Method.ASEND_ROBUST])
def test_swallowed_error_is_found(name, method):
    hazard = only(raising(method, name), "swallowed-error")

    assert hazard.receiver == name
    assert "raised ValueError: no price, and" in hazard.message
    assert hazard.message.endswith(f"{method}() of order_placed swallowed it.")


def test_message_that_ends_a_sentence_of_its_own_does_not_end_the_finding():
    build = TraceBuilder()
    dispatch = build.dispatch("order_placed", method=Method.SEND_ROBUST)
    build.call(
        dispatch,
        outcome=Outcome.RAISED,
        exception_type="ValueError",
        exception_message="There is no price.",
    )

    assert "ValueError: There is no price, and" in only(build, "swallowed-error").message


def test_swallowed_error_counts_repetitions_in_one_finding():
    build = TraceBuilder(Kind.COMMAND, "simulate")
    for number in range(3):
        dispatch = build.dispatch(
            "order_placed", method=Method.SEND_ROBUST, at=f"core.views.v:{number}"
        )
        build.call(dispatch, outcome=Outcome.RAISED, exception_type="OSError")
    hazard = only(build, "swallowed-error")

    assert "raised OSError 3 times" in hazard.message
    assert hazard.numbers == [2, 4, 6]


def test_swallowed_error_leaves_success_send_and_what_was_raised_on_alone():
    quiet = TraceBuilder()
    quiet.call(quiet.dispatch("order_placed", method=Method.SEND_ROBUST))

    assert ids(quiet) == set()
    assert ids(raising(Method.SEND, exception_type="ValueError")) == set()
    assert ids(raising(Method.SEND_ROBUST, exception_type="KeyboardInterrupt")) == set()


def test_swallowed_error_leaves_cancelled_receivers_alone():
    build = TraceBuilder()
    build.call(
        build.dispatch("order_placed", method=Method.ASEND_ROBUST), outcome=Outcome.CANCELLED
    )

    assert ids(build) == set()


# --- skipped-receivers ---------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("method", [Method.SEND, Method.ASEND])
def test_skipped_receivers_are_named(name, method):
    build = raising(
        method,
        name,
        after=[label("core.search.index", line=7), label("core.stock.Keeper.on_sale", line=9)],
    )
    hazard = only(build, "skipped-receivers")

    assert hazard.receiver == name
    assert hazard.message.endswith(
        "raised ValueError: no price and index (/app/core/search.py:7) and Keeper.on_sale "
        "(/app/core/stock/Keeper.py:9) did not run for order_placed of orders.Order."
    )
    assert hazard.numbers == [1, 2, 3, 4]


def test_skipped_receivers_are_found_in_a_command():
    build = raising(Method.SEND, kind=Kind.COMMAND, after=["core.search.index"])

    assert "skipped-receivers" in ids(build)


@pytest.mark.parametrize(
    ("signal", "advised"), [("order_placed", "send_robust()"), ("post_save", "have it catch")]
)
def test_remedy_of_skipped_receivers_is_one_that_the_project_has(signal, advised):
    build = TraceBuilder()
    dispatch = build.dispatch(signal)
    build.call(dispatch, NAMES[0], outcome=Outcome.RAISED, exception_type="ValueError")
    build.call(dispatch, NAMES[1], outcome=Outcome.SKIPPED, own_ns=0)

    assert advised in only(build, "skipped-receivers").remedy


def test_remedy_of_a_bypassing_deletion_is_to_delete():
    build = TraceBuilder()
    build.bypass(operation="sql_delete", signals=("django.db.models.signals.post_delete",))

    hazard = only(build, "bypassed-receivers")

    assert hazard.message.startswith("DELETE in SQL of orders.Order at ")
    assert hazard.remedy.startswith("Delete the instances with QuerySet.delete()")


def test_skipped_receivers_leaves_the_last_receiver_alone():
    assert ids(raising(Method.SEND, exception_type="ValueError")) == set()


def test_skipped_receivers_leaves_robust_sends_alone():
    build = TraceBuilder()
    dispatch = build.dispatch("order_placed", method=Method.SEND_ROBUST)
    build.call(dispatch, NAMES[0], outcome=Outcome.RAISED, exception_type="ValueError")
    build.call(dispatch, "core.search.index")

    assert ids(build) == {"swallowed-error"}


def test_skipped_receivers_leaves_unknown_outcomes_alone():
    build = TraceBuilder()
    dispatch = build.dispatch("order_placed")
    build.call(dispatch, outcome=Outcome.RAISED, exception_type="ValueError")
    build.call(dispatch, "core.search.index", outcome=Outcome.UNKNOWN)

    assert ids(build) == set()


# --- bypassed-receivers --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("operation", "signal", "said"),
    [
        ("update", "post_save", "update()"),
        ("bulk_create", "post_save", "bulk_create()"),
        ("bulk_update", "pre_save", "bulk_update()"),
        ("delete", "post_delete", "delete()"),
        ("on_delete", "post_save", "on_delete"),
        ("db_cascade", "pre_delete", "the database's cascade"),
    ],
)
def test_bypassed_receivers_are_named(operation, signal, said):
    build = TraceBuilder(Kind.COMMAND, "reprice")
    build.bypass(
        operation=operation,
        signals=(f"django.db.models.signals.{signal}",),
        receivers=(label("core.search.Indexer.on_save", line=7), label("core.stock.count", line=9)),
        callsite=Callsite("/app/core/orders/services.py", 9, "reprice"),
    )
    hazard = only(build, "bypassed-receivers")

    assert hazard.message == (
        f"{said} of orders.Order at reprice (/app/core/orders/services.py:9) wrote 3 rows "
        f"without sending {signal}: Indexer.on_save (/app/core/search/Indexer.py:7) and count "
        "(/app/core/stock.py:9) did not run."
    )
    assert (hazard.file, hazard.line) == ("/app/core/orders/services.py", 9)
    assert hazard.receiver == "core.search.Indexer.on_save"


def test_bypassed_receivers_are_found_in_a_receiver_of_another_model():
    build = TraceBuilder()
    call = build.call(build.dispatch(sender="sales.Sale"))
    build.bypass(parent_number=call.number, rows=None)
    hazard = only(build, "bypassed-receivers")

    assert "wrote some rows" in hazard.message
    assert hazard.numbers == [call.number]


def test_bypassed_receivers_adds_up_the_writes_of_one_place():
    build = TraceBuilder()
    for _ in range(4):
        build.bypass(callsite=Callsite("/app/a.py", 1, "f"))

    assert "wrote 12 rows" in only(build, "bypassed-receivers").message


def test_bypassed_receivers_leaves_a_write_of_nothing_alone():
    build = TraceBuilder()
    build.bypass(rows=0)

    assert ids(build) == set()


def test_bypassed_receivers_leaves_a_write_without_receivers_alone():
    build = TraceBuilder()
    build.bypass(receivers=())

    assert ids(build) == set()


def test_bypassed_receivers_leaves_a_receiver_updating_its_own_row_alone():
    build = TraceBuilder()
    call = build.call(build.dispatch(sender="orders.Order"))
    build.bypass(parent_number=call.number, rows=1)

    assert ids(build) == set()


PACKAGES = "/venv/lib/python3.12/site-packages"


def test_bypassed_receivers_leaves_a_receiver_writing_its_own_row_by_sql_alone():
    build = TraceBuilder()
    call = build.call(build.dispatch())
    build.bypass(operation="sql_update", parent_number=call.number)

    assert ids(build) == set()


def test_bypassed_receivers_leaves_what_is_between_packages_alone():
    theirs = label("pages.i18n.set_locale", file=f"{PACKAGES}/pages/i18n.py")
    build = TraceBuilder()
    place = Callsite(f"{PACKAGES}/versions/revisions.py", 9, "save_revision")
    build.bypass(receivers=(theirs,), callsite=place)
    permissions = label("auth.create_permissions", file=f"{PACKAGES}/django/management.py")
    call = build.call(build.dispatch("post_migrate", "apps.Config"), permissions)
    manage = Callsite("/app/manage.py", 18, "main")
    build.bypass(receivers=(theirs,), callsite=manage, parent_number=call.number)

    assert ids(build) == set()


def test_bypassed_receivers_of_a_package_are_found_where_the_project_writes():
    theirs = label("history.post_save", file=f"{PACKAGES}/history.py")
    build = TraceBuilder()
    build.bypass(receivers=(theirs,), callsite=Callsite("/app/services.py", 9, "reprice"))

    assert only(build, "bypassed-receivers").receiver == "history.post_save"


def test_bypassed_receivers_are_named_after_the_projects_own():
    theirs = label("history.post_save", file=f"{PACKAGES}/history.py")
    build = TraceBuilder()
    build.bypass(
        receivers=(theirs, label("core.stock.count")),
        callsite=Callsite(f"{PACKAGES}/loader.py", 9, "load"),
    )
    hazard = only(build, "bypassed-receivers")

    assert hazard.receiver == "core.stock.count"
    assert len(hazard.evidence) == 2


# --- lost-receiver -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    [
        "core.orders.apps.ready.<locals>.<lambda>",
        "core.orders.apps.ready.<locals>.receive",
        "functools.partial(core.mail.notify)",
        "core.search.Indexer.on_save",
        "core.search.Indexer()",
    ],
)
def test_lost_receiver_is_found(name):
    build = TraceBuilder()
    build.lost(label(name), sender="orders.Order")
    hazard = only(build, "lost-receiver")

    assert hazard.receiver == name
    assert hazard.message.endswith(
        "was connected weakly to post_save of orders.Order and has been garbage-collected: it does "
        "not run any more."
    )


def test_lost_receiver_is_found_for_a_closure_that_ran_for_a_while():
    build = TraceBuilder()
    build.lost(label("core.orders.apps.ready.<locals>.receive"))
    build.trace.lost_receivers[0].was_called = True

    assert "lost-receiver" in ids(build)


def test_lost_receiver_is_reported_once():
    build = TraceBuilder()
    for _ in range(3):
        build.lost(label("core.orders.apps.ready.<locals>.receive"))

    assert len(find(build.build())) == 1


def test_lost_receiver_leaves_a_method_whose_object_had_done_its_work_alone():
    build = TraceBuilder()
    build.lost(label("core.search.Indexer.on_save"))
    build.trace.lost_receivers[0].was_called = True

    assert ids(build) == set()


def test_lost_receiver_leaves_a_method_of_a_library_alone():
    build = TraceBuilder()
    build.lost(label("django.core.files.storage.FileSystemStorage.clear", file=mixins.__file__))

    assert ids(build) == set()


def test_lost_receiver_leaves_a_receiver_made_inside_a_test_alone():
    build = TraceBuilder(Kind.TEST, "test_it")
    build.lost(label("tests.test_orders.test_it.<locals>.receive"))
    build.trace.lost_receivers[0].was_called = True

    assert ids(build) == set()


def test_lost_receiver_leaves_living_receivers_alone():
    build = TraceBuilder()
    build.call(build.dispatch(), "core.orders.apps.ready.<locals>.receive")

    assert ids(build) == set()
