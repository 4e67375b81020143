"""Tests of the rules about cycles of dispatches and saves repeated by a receiver."""

from __future__ import annotations

import pytest

from tests.tracing.analysis.building import TraceBuilder, label
from tracing.analysis.hazards import find
from tracing.spans.records import Kind, Method


def ids(build):
    return {hazard.hazard for hazard in find(build.build())}


def only(build, name):
    (hazard,) = [hazard for hazard in find(build.build()) if hazard.hazard == name]
    return hazard


def saving(build, levels, *, receiver="core.orders.receivers.touch", created=True, **options):
    """Build a save whose receiver saves the same instance again, *levels* dispatches deep."""
    call = None
    for level in range(levels):
        dispatch = build.dispatch(
            under=call,
            at="orders.receivers.touch:14" if level else "core.views.checkout:10",
            instance="orders.Order:1",
            created=created and level == 0,
            **(options if level else {}),
        )
        call = build.call(dispatch, receiver)
    return build


# --- recursion -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "receiver",
    [
        "core.orders.receivers.touch",
        "core.orders.services.Stamper.touch",
        "functools.partial(core.orders.receivers.touch)",
        "core.orders.services.Stamper()",
        "core.orders.apps.connect.<locals>.touch",
    ],
)
def test_recursion_is_found_when_a_save_goes_on_repeating_itself(receiver):
    hazard = only(saving(TraceBuilder(), 4, receiver=receiver), "recursion")

    assert "4 levels deep" in hazard.message
    assert hazard.receiver == receiver
    assert hazard.severity == "error"


def test_recursion_shows_the_cycle_through_other_models():
    build = TraceBuilder(Kind.COMMAND, "recount")
    outer = build.dispatch(sender="orders.Order", instance="orders.Order:1")
    recount = build.call(outer, "core.orders.receivers.recount")
    line = build.dispatch(sender="orders.Line", instance="orders.Line:5", under=recount)
    total = build.call(line, "core.orders.receivers.total")
    build.call(
        build.dispatch(sender="orders.Order", instance="orders.Order:1", under=total),
        "core.orders.receivers.recount",
    )
    hazard = only(build, "recursion")

    assert hazard.message == (
        "post_save of orders.Order:1 nests in itself, 2 levels deep: post_save of orders.Order → "
        "recount (/app/core/orders/receivers.py:369) → post_save of orders.Line → "
        "total (/app/core/orders/receivers.py:149) → post_save of orders.Order."
    )
    assert hazard.numbers == [1, 2, 3, 4, 5]


@pytest.mark.parametrize(
    ("signal", "options"),
    [
        ("order_placed", {"instance": "orders.Order:1"}),
        ("order_placed", {"named": ("order",), "values": {"order": "orders.Order:1"}}),
        ("order_placed", {}),
        ("order_placed", {"instance": "orders.Order:1", "method": Method.ASEND}),
        ("post_init", {"instance": "orders.Order:1"}),
        ("pre_delete", {"instance": "orders.Order:1"}),
    ],
)
def test_recursion_is_found_for_other_signals_at_the_first_repetition(signal, options):
    build = TraceBuilder()
    call = build.call(build.dispatch(signal, **options))
    build.call(build.dispatch(signal, under=call, **options))

    assert "recursion" in ids(build)


def test_recursion_of_unknown_instances_is_found_at_pythons_limit():
    build = TraceBuilder()
    call = None
    for level in range(8):
        error = "RecursionError" if level == 7 else ""
        named = ("order",)
        call = build.call(
            build.dispatch("order_placed", under=call, named=named, exception_type=error)
        )
    hazard = only(build, "recursion")

    assert "until Python's recursion limit" in hazard.message


def test_recursion_of_unknown_instances_is_found_when_very_deep():
    build = TraceBuilder()
    call = None
    for _ in range(25):
        call = build.call(build.dispatch("order_placed", under=call, named=("order",)))

    assert "25 levels deep" in only(build, "recursion").message


def test_recursion_is_reported_once_however_often_it_happens():
    build = TraceBuilder()
    for number in range(3):
        call = None
        for _ in range(3):
            dispatch = build.dispatch(instance=f"orders.Order:{number}", under=call)
            call = build.call(dispatch)

    assert len([hazard for hazard in find(build.build()) if hazard.hazard == "recursion"]) == 1


def test_recursion_leaves_a_guarded_second_save_alone():
    assert ids(saving(TraceBuilder(), 2)) == {"repeated-save"}
    assert ids(saving(TraceBuilder(), 2, update_fields=("code",))) == set()


def test_recursion_leaves_a_tree_of_different_instances_alone():
    build = TraceBuilder()
    call = None
    for number in range(15):
        dispatch = build.dispatch(
            sender="shop.Category", instance=f"shop.Category:{number}", under=call
        )
        call = build.call(dispatch, "shop.receivers.touch_parent")

    assert ids(build) == set()


def test_recursion_leaves_unsaved_instances_alone():
    build = TraceBuilder()
    call = None
    for _ in range(4):
        call = build.call(build.dispatch("pre_save", instance="shop.Category:None", under=call))

    assert ids(build) == set()


def test_recursion_leaves_a_signal_with_unknown_arguments_alone():
    build = TraceBuilder()
    call = None
    for _ in range(6):
        call = build.call(build.dispatch("order_placed", named=("node",), under=call))

    assert ids(build) == set()


def test_recursion_leaves_another_action_and_another_database_alone():
    build = TraceBuilder()
    added = build.dispatch("m2m_changed", instance="orders.Order:1", action="post_add")
    build.call(
        build.dispatch(
            "m2m_changed", instance="orders.Order:1", action="post_remove", under=build.call(added)
        )
    )
    call = None
    for alias in ("default", "replica", "archive"):
        call = build.call(build.dispatch(instance="orders.Order:1", using=alias, under=call))

    assert ids(build) == set()


def test_recursion_leaves_a_cycle_under_update_fields_alone():
    build = TraceBuilder()
    sale = build.dispatch(
        sender="sales.Sale",
        instance="sales.Sale:1",
        under=build.call(build.dispatch(instance="orders.Order:1", created=True)),
    )
    build.call(
        build.dispatch(
            instance="orders.Order:1",
            under=build.call(sale, "core.sales.receivers.mark"),
            update_fields=("state",),
            created=False,
        )
    )

    assert ids(build) == set()


# --- repeated-save -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "receiver",
    [
        "core.orders.receivers.touch",
        "core.orders.services.Stamper.touch",
        "functools.partial(core.orders.receivers.touch)",
        "core.orders.services.Stamper()",
    ],
)
def test_repeated_save_is_found_when_every_update_saves_twice(receiver):
    hazard = only(saving(TraceBuilder(), 2, receiver=receiver, created=False), "repeated-save")

    assert hazard.receiver == receiver
    assert "saves orders.Order:1 again while its post_save is being signalled" in hazard.message
    assert "/app/orders/receivers.py:14" in hazard.message
    assert hazard.numbers == [1, 2, 3]


def test_repeated_save_is_found_in_pre_save():
    build = TraceBuilder()
    outer = build.dispatch("pre_save", instance="orders.Order:1")
    build.dispatch("pre_save", instance="orders.Order:1", under=build.call(outer))

    assert "repeated-save" in ids(build)


def test_repeated_save_is_found_when_one_call_saves_several_times():
    build = TraceBuilder(Kind.COMMAND, "recount")
    call = build.call(build.dispatch(instance="orders.Order:1", created=True))
    for _ in range(2):
        build.dispatch(instance="orders.Order:1", created=False, under=call)

    assert "2 more saves" in only(build, "repeated-save").message


def test_repeated_save_is_found_without_a_guard_even_with_update_fields():
    build = saving(TraceBuilder(), 4, created=False, update_fields=("visits",))

    assert "repeated-save" in ids(build)


def test_repeated_save_is_found_when_two_receivers_save_a_new_instance_again():
    build = TraceBuilder()
    outer = build.dispatch(instance="orders.Order:1", created=True)
    for name in ("code", "total"):
        call = build.call(outer, f"core.orders.receivers.{name}")
        build.dispatch(instance="orders.Order:1", created=False, under=call)

    found = [hazard for hazard in find(build.build()) if hazard.hazard == "repeated-save"]
    assert len(found) == 2


def test_repeated_save_is_info_for_a_guarded_whole_second_save():
    assert only(saving(TraceBuilder(), 2), "repeated-save").severity == "info"


def test_repeated_save_in_pre_save_is_told_that_one_save_is_still_to_come():
    build = TraceBuilder()
    call = build.call(build.dispatch("pre_save", instance="orders.Order:1"))
    build.dispatch("pre_save", instance="orders.Order:1", under=call)

    hazard = only(build, "repeated-save")

    assert hazard.severity == "warning"
    assert hazard.remedy == "Set the fields alone: the save that is still to come writes them."


def test_repeated_save_leaves_a_guarded_second_save_alone():
    assert ids(saving(TraceBuilder(), 2, created=False, update_fields=("code",))) == set()


def test_repeated_save_leaves_another_instance_or_model_alone():
    build = TraceBuilder()
    call = build.call(build.dispatch(instance="orders.Order:1", created=False))
    build.call(build.dispatch(instance="orders.Order:2", under=call))
    build.call(build.dispatch(sender="sales.Sale", instance="sales.Sale:1", under=call))

    assert ids(build) == set()


def test_repeated_save_leaves_a_copy_to_another_database_alone():
    build = saving(TraceBuilder(), 2, created=False, using="replica")

    assert ids(build) == set()


def test_repeated_save_leaves_a_save_in_m2m_changed_alone():
    build = TraceBuilder()
    outer = build.dispatch(
        "m2m_changed", "orders.Order_cars", instance="orders.Order:1", action="post_add"
    )
    build.call(build.dispatch(instance="orders.Order:1", under=build.call(outer)))

    assert ids(build) == set()


def test_repeated_save_leaves_fixtures_alone():
    build = TraceBuilder()
    outer = build.dispatch(instance="orders.Order:1", raw=True, created=False)
    build.dispatch(instance="orders.Order:1", under=build.call(outer), created=False)

    assert "repeated-save" not in ids(build)


# --- one walk for all cycles ---------------------------------------------------------------------


def test_cycles_through_different_models_are_told_apart_though_they_end_alike():
    build = TraceBuilder()
    for key, other in enumerate(("orders.Line", "orders.Coupon"), 1):
        outer = build.dispatch(instance=f"orders.Order:{key}")
        first = build.call(outer, f"core.orders.receivers.change_{other.lower()}")
        between = build.dispatch(sender=other, instance=f"{other}:1", under=first)
        last = build.call(between, "core.orders.receivers.touch_order")
        build.call(build.dispatch(instance=f"orders.Order:{key}", under=last))
    found = [hazard for hazard in find(build.build()) if hazard.hazard == "recursion"]

    assert len(found) == 2
    assert "orders.Line" in found[0].message
    assert "orders.Coupon" in found[1].message


def test_cycle_of_labels_that_are_equal_but_not_the_same_is_told_once():
    build = TraceBuilder()
    for key in (1, 2):
        call = None
        for _level in range(4):
            sent = build.dispatch(instance=f"orders.Order:{key}", under=call)
            call = build.call(sent, label("core.orders.receivers.touch"))
    hazard = only(build, "recursion")

    assert "4 levels deep" in hazard.message


def test_same_instance_beside_its_cycle_is_no_further_level():
    build = saving(TraceBuilder(), 3)
    saving(build, 2)
    hazard = only(build, "recursion")

    assert "3 levels deep" in hazard.message


def test_cycle_a_thousand_dispatches_wide_is_found():
    build, call = TraceBuilder(Kind.COMMAND), None
    for number in range(2_000):
        sent = build.dispatch(
            instance=f"orders.Order:{number % 1_000 + 1}", under=call, created=False
        )
        call = build.call(sent, label("core.orders.receivers.next_order", line=7), own_ns=0)
    # Laying out the times of so deep a tree would recurse.
    trace = build.trace
    stack = build.roots[:]
    while stack:
        sent = stack.pop()
        trace.dispatches.append(sent)
        sent.depth = (sent.number - 1) // 2
        stack += [each for call in sent.receiver_calls for each in build.sent.get(call.number, ())]
    found = find(trace)

    assert "recursion" in {hazard.hazard for hazard in found}
