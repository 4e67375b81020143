"""Tests of the sums by path: they tell what the traces themselves do."""

from __future__ import annotations

import gc
import zlib

import pytest

from tests.tracing.analysis.building import MS, TraceBuilder, label
from tracing.analysis.explain import paths, trees
from tracing.analysis.explain.merging import Merging
from tracing.analysis.explain.paths import PathSums
from tracing.analysis.explain.question import Question
from tracing.analysis.explain.steps import with_parents
from tracing.analysis.explain.told import told
from tracing.analysis.explain.trees import Tree, Trees, read
from tracing.analysis.histogram import HOUR_NS
from tracing.spans.records import Bypass, Carried, Kind, Outcome, SideEffect, TransactionOutcome

SAVE = "django.db.models.signals.post_save"
ORDER = (SAVE, "orders.Order", "")


def sale(times=1, *, fails=False, name="shop:sell"):
    """Return a trace: an order is saved, whose receiver sends *times* ``sold``, which one of two hears."""
    build = TraceBuilder(name=name)
    saved = build.dispatch(SAVE, "orders.Order", transaction=TransactionOutcome.COMMITTED)
    make = build.call(saved, label("shop.make"), query_count=2, own_ns=MS)
    for number in range(times):
        sold = build.dispatch("shop.sold", "shop.Sale", make)
        build.call(sold, label("shop.thank"))
        build.call(
            sold,
            label("shop.count"),
            outcome=Outcome.RAISED if fails and not number else Outcome.RETURNED,
            exception_type="OSError" if fails and not number else "",
        )
    build.call(saved, label("shop.index"), outcome=Outcome.SKIPPED if fails else Outcome.RETURNED)
    trace = build.build()
    trace.side_effects = [SideEffect("mail", "1 recipient", 5, make.number)]
    follow = (label("cars.follow"),)
    trace.bypasses = [Bypass("update", "cars.Car", (SAVE,), follow, 1, 7, None, make.number)]
    return trace


def summed(*traces, at_once=True):
    """Return the trees of *traces*, by root, folded at once or one by one."""
    sums, kept = PathSums(), Trees()
    for trace in traces:
        sums.add(trace)
        if not at_once:
            sums.fold(kept)
    sums.fold(kept)
    written = {}
    for roots in kept.hours.values():
        for root, tree in roots.items():
            written.setdefault(root, []).append(tree.encode())
    return {root: Tree.decode(*trees) for root, trees in written.items()}


def steps(tree):
    """Return what a tree tells."""
    return told(read(tree.encode())[1].items())[0]


def left_out(tree):
    """Return how many spans a tree does not tell."""
    return told(read(tree.encode())[1].items())[1]


def merged(question, *traces):
    """Return the steps of *question* as the traces themselves give them."""
    merging = Merging(question)
    for trace in traces:
        merging.add(trace)
    return merging.explanation()


def rows(roots):
    """Return what is told of each step, but for its durations."""
    return [
        (
            len(above), step.kind, step.name, step.sender, step.count, step.asked_count,
            step.parent_count, step.query_count, step.error_count, dict(step.errors),
            step.skipped_count, dict(step.transactions), dict(step.effects),
            [(each.model, each.receivers, each.count) for each in step.bypasses],
        )
        for step, above in with_parents(roots)
    ]  # fmt: skip


@pytest.mark.parametrize("at_once", [True, False])
def test_sums_tell_what_the_traces_tell(at_once):
    traces = [sale(), sale(3), sale(0), sale(2, fails=True), sale(name="shop:other")]

    found = summed(*traces, at_once=at_once)

    by_pair = merged(Question(SAVE, "orders.Order"), *traces)
    assert rows(steps(found[ORDER])) == rows(by_pair.roots)
    inner = merged(Question("shop.sold", "shop.Sale"), *traces)
    assert rows(steps(found["shop.sold", "shop.Sale", ""])) == rows(inner.roots)
    by_name = merged(Question(name="shop:sell"), *traces[:4])
    assert rows(steps(found["", "", "shop:sell"])) == rows(by_name.roots)


def test_trees_are_the_same_after_being_written_down():
    found = summed(sale(2, fails=True))[ORDER]

    again = Tree.decode(found.encode())
    twice = Tree.decode(found.encode(), found.encode())

    (before,), (after,), (double,) = (steps(tree) for tree in (found, again, twice))
    assert rows([after]) == rows([before])
    assert [step.quantile(0.5) for step, _ in with_parents([after])] == [
        step.quantile(0.5) for step, _ in with_parents([before])
    ]
    assert after.children[0].receiver == before.children[0].receiver
    assert double.count == 2 * before.count


@pytest.mark.parametrize("data", [b"", b"nothing", zlib.compress(b"[2,0,[]]")])
def test_what_cannot_be_read_adds_nothing(data):
    found = summed(sale())[ORDER]

    (root,) = Tree.decode(data, found.encode()).roots.values()

    assert root.step.count == 1


def test_names_that_no_database_takes_are_written_without():
    build = TraceBuilder()
    build.call(build.dispatch(sender="shop.\udce9"), label("shop.receive"))
    (tree,) = [tree for root, tree in summed(build.build()).items() if root[1] == "shop.\udce9"]

    (key,) = Tree.decode(tree.encode()).roots

    assert key[2] == "shop.?"


def test_what_is_inside_its_like_is_no_root():
    build = TraceBuilder()
    outer = build.call(build.dispatch(SAVE, "orders.Order"), label("shop.make"))
    build.call(build.dispatch(SAVE, "orders.Order", outer), label("shop.make"))

    tree = summed(build.build())[ORDER]

    (root,) = tree.roots.values()
    assert (root.step.count, tree.nested) == (1, 1)


def test_segments_continue_what_is_running():
    whole = sale()
    saved, sold = whole.dispatches
    first, last = sale(), sale()
    first.dispatches, first.final = [sold], False
    first.side_effects, first.bypasses = [], []
    first.diagnosis_context = Carried(unfinished=[saved])
    last.dispatches, last.segment = [saved], 1

    found = summed(first, last)

    assert rows(steps(found[ORDER])) == rows(merged(Question(SAVE, "orders.Order"), whole).roots)
    (top,) = found["", "", whole.name].roots.values()
    assert top.step.count == 1


def test_paths_are_bounded_and_what_is_beyond_is_counted(monkeypatch):
    monkeypatch.setattr(paths, "MOST_PENDING", 2)
    few = summed(sale(2))[ORDER]
    monkeypatch.undo()
    monkeypatch.setattr(trees, "MOST_PATHS", 3)
    kept = summed(sale(2))

    # Two dispatches and a call found no room; what is below those is not looked at.
    assert (left_out(few), len(few.roots)) == (3, 1)
    assert sum(1 + len(root.below) for tree in kept.values() for root in tree.roots.values()) == 3
    assert sum(map(left_out, kept.values())) > 0


def test_deep_traces_are_cut():
    build = TraceBuilder()
    call = None
    for number in range(60):
        call = build.call(build.dispatch(f"shop.s{number}", "shop.Sale", call), label(f"r{number}"))

    tree = summed(build.build())["", "", build.trace.name]

    assert left_out(tree) == 1
    assert max(len(above) for _, above in with_parents(steps(tree))) == paths.MOST_LEVELS


def test_of_more_steps_than_are_told_those_are_that_happened_most():
    traces = [sale(1, fails=True), *(sale(number) for number in range(2, 5))]
    _, roots = read(summed(*traces)[ORDER].encode())

    every, none = told(roots.items())
    few, spans = told(roots.items(), most=4)

    assert (none, len(rows(every))) == (0, 6)
    kept = rows(few)
    assert len(kept) == 4
    assert spans == sum(row[4] for row in rows(every)) - sum(row[4] for row in kept)
    assert min(row[5] for row in kept) >= max(
        row[5] for row in rows(every) if row[1:4] not in {each[1:4] for each in kept}
    )
    told_of = {step.name: len(step.children) for step, _ in with_parents(every)}
    assert all(
        step.is_cut is (len(step.children) < told_of[step.name]) for step, _ in with_parents(few)
    )


def test_trimmed_tree_tells_the_commonest_and_counts_the_rest():
    traces = [sale(1, fails=True), *(sale(number) for number in range(2, 5))]
    tree = summed(*traces)[ORDER]
    whole, spans = steps(tree), sum(step.count for step, _ in with_parents(steps(tree)))

    tree.trim(6)
    assert (rows(steps(tree)), left_out(tree)) == (rows(whole), 0)
    tree.trim(4)

    few = told(read(summed(*traces)[ORDER].encode())[1].items(), most=4)[0]
    assert rows(steps(tree)) == rows(few)
    assert left_out(tree) == spans - sum(step.count for step, _ in with_parents(few)) > 0
    assert summed(*traces).keys() > {ORDER}


def test_tests_and_lone_dispatches_have_no_tree_by_name():
    lone = sale()
    lone.kind = Kind.DISPATCH

    assert not [root for root in summed(lone) if root[2]]


def test_each_hour_has_trees_of_its_own():
    early, late = sale(), sale()
    late.started_ns += HOUR_NS
    sums, kept = PathSums(), Trees()
    sums.add(early)
    sums.add(late)
    sums.fold(kept)

    assert len(kept.hours) == 2
    assert not sums
    kept.forget(early.started_ns // HOUR_NS)
    assert {hour for hour, _ in kept.changed} == {late.started_ns // HOUR_NS}


def test_spans_whose_receiver_comes_later_are_counted_at_the_top():
    build = TraceBuilder(name="malformed")
    for _ in range(2):
        outer = build.dispatch(SAVE, "orders.Order")
        middle = build.dispatch("shop.made", "shop.Sale", build.call(outer, label("shop.make")))
        build.dispatch("shop.sold", "shop.Sale", build.call(middle, label("shop.tell")))
    trace = build.build()
    trace.dispatches.sort(key=lambda dispatch: dispatch.signal != "shop.sold")

    (top,) = summed(trace)["", "", "malformed"].roots.values()

    found = {key[1]: (path.step.count, path.shares) for key, path in top.below.items()}
    assert found == {SAVE: (2, (1,)), "shop.sold": (2, (2,))}


def test_what_is_kept_is_nothing_that_the_garbage_collector_looks_at_for_long():
    sums, kept = PathSums(), Trees()
    for number in range(20):
        sums.add(sale(name=f"shop:sell_{number}"))
    gc.collect()
    gc.disable()
    try:
        sums.fold(kept)
        # What was waiting is gone at once: no circle is left to a collection.
        assert gc.collect() == 0
    finally:
        gc.enable()

    stack = [
        root
        for trees in kept.hours.values()
        for tree in trees.values()
        for root in tree.roots.values()
    ]
    assert len(stack) == 22
    while stack:
        path = stack.pop()
        assert not any(map(gc.is_tracked, (path, path.step, path.shares)))
        stack += path.below.values()
