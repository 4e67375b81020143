"""Tasks joined to what enqueued them, in whatever order the two were stored."""

from __future__ import annotations

import pytest

from tests.tracing.analysis.building import TraceBuilder
from tests.tracing.viewer.traces import identify, store
from tracing.exporters.database import DatabaseExporter
from tracing.models import TaskLink, Trace
from tracing.presentation.task_links import task_document
from tracing.spans.records import Kind
from tracing.store import task_links as module
from tracing.store.task_links import task_links

pytestmark = pytest.mark.django_db(databases="__all__")

TASK = "0b1c5a7e-9a3f-4c55-8f0e-6c1c3c9d2f11"


def sender(number=1, *task_ids, **options):
    """Return a request that enqueues tasks."""
    build = TraceBuilder(name="POST /orders/", **options)
    call = build.call(build.dispatch(), "shop.index")
    for task_id in task_ids or (TASK,):
        build.side_effect(call, "task", target="shop.index", backend="celery", task_id=task_id)
    return identify(build.build(), number)


def run(number=2, task_id=TASK, *, attempt=1, enqueues=""):
    """Return a run of a task; it may enqueue another, or the next attempt."""
    attributes = {"task_id": task_id, "attempt": str(attempt)}
    build = TraceBuilder(Kind.TASK, "shop.index", attributes=attributes)
    if enqueues:
        build.side_effect(None, "task", target="shop.index", task_id=enqueues)
    return identify(build.build(), number, ago=60 - number)


def told(trace):
    """Return (state and attempts of what it enqueued, state and senders of what it ran)."""
    found = task_document(task_links(trace))
    enqueued = [
        (task["state"], [(int(each["trace_id"], 16), each["attempt"]) for each in task["runs"]])
        for task in found.get("enqueued", ())
    ]
    senders = [int(each["trace_id"], 16) for each in found.get("enqueued_by", ())]
    return enqueued, (found.get("sender"), senders)


@pytest.mark.parametrize("order", [1, -1], ids=["sender-first", "run-first"])
def test_task_and_sender_are_found_from_either_end(order):
    both = [sender(), run()]
    for trace in both[::order]:
        store(trace)

    assert told(both[0]) == ([("seen", [(2, 1)])], (None, []))
    assert told(both[1]) == ([], ("seen", [1]))


def test_task_that_never_ran_is_not_seen_yet():
    assert told(*store(sender())) == ([("not seen yet", [])], (None, []))


def test_task_whose_sender_was_not_recorded():
    assert told(*store(run())) == ([], ("not known", []))


def test_trace_without_tasks_tells_none_and_asks_nothing(django_assert_num_queries):
    [trace] = store(identify(TraceBuilder(attributes={"task_id": TASK}).build(), 1))

    with django_assert_num_queries(0):
        assert task_document(task_links(trace)) == {}
    assert not TaskLink.objects.exists()


@pytest.mark.parametrize("pruned", [0, 1], ids=["sender", "run"])
def test_pruned_partner_is_no_longer_stored(pruned):
    both = store(sender(), run())
    gone, left = both[pruned], both[1 - pruned]
    Trace.objects.called(gone.trace_id).delete()

    assert told(left) == (
        ([], ("no longer stored", [])) if pruned == 0 else ([("no longer stored", [])], (None, []))
    )
    Trace.objects.called(left.trace_id).delete()
    assert not TaskLink.objects.exists()


def test_pruning_leaves_the_tasks_of_others():
    store(sender(1), run(2), sender(3, "other"), run(4, "other"))
    Trace.objects.filter(trace_id__in=[f"{1:032x}", f"{2:032x}"]).delete()

    rows = TaskLink.objects.order_by("pk").values_list("task_id", "ran", "trace__trace_id")
    assert list(rows) == [("other", False, f"{3:032x}"), ("other", True, f"{4:032x}")]


def test_attempts_are_enqueued_by_those_before_them():
    # In the other order than they happened, as where each has a process of its own.
    third, second, first, request = store(
        run(4, attempt=3),
        run(3, attempt=2, enqueues=TASK),
        run(2, attempt=1, enqueues=TASK),
        sender(1),
    )

    assert told(request)[0] == [("seen", [(2, 1), (3, 2), (4, 3)])]
    assert told(first) == ([("seen", [(3, 2), (4, 3)])], ("seen", [1]))
    assert told(second) == ([("seen", [(4, 3)])], ("seen", [1, 2]))
    assert told(third) == ([], ("seen", [1, 2, 3]))


def test_task_that_is_replaced_runs_again_by_the_same_id():
    request, replaced, other = store(sender(1), run(2, enqueues=TASK), run(3))

    assert told(request)[0] == [("seen", [(2, 1), (3, 1)])]
    assert told(replaced) == ([("seen", [(3, 1)])], ("seen", [1]))
    assert told(other) == ([], ("seen", [1, 2]))


def test_task_that_enqueues_another_has_both_ends():
    store(sender(), run(3, "other"))
    [middle] = store(run(2, enqueues="other"))

    assert told(middle) == ([("seen", [(3, 1)])], ("seen", [1]))


def header_run(number, *, sends=False):
    """Return a run of a chord's header; the last one sends the body."""
    attributes = {"task_id": f"part {number}", "attempt": "1", "chord": TASK}
    build = TraceBuilder(Kind.TASK, "shop.count", attributes=attributes)
    if sends:
        build.side_effect(None, "task", target="shop.index", task_id=TASK)
    return identify(build.build(), number, ago=60 - number)


def test_body_of_a_chord_is_joined_to_its_sender_and_to_each_run_of_the_header():
    request, *header, body = store(
        sender(1, TASK), header_run(2), header_run(3, sends=True), run(4)
    )

    assert told(request)[0] == [("seen", [(4, 1)])]
    assert [told(each)[0] for each in header] == [[("seen", [(4, 1)])]] * 2
    assert told(body) == ([], ("seen", [1, 2, 3]))
    found = task_document(task_links(header[0]))["enqueued"]
    assert [task["task"] for task in found] == ["shop.index"]


def test_body_of_a_chord_that_has_not_run_is_told_by_its_header():
    [first] = store(header_run(2))

    [task] = task_document(task_links(first))["enqueued"]
    assert (task["task"], task["state"]) == ("the task after its group", "not seen yet")


def test_segments_of_a_run_of_a_header_are_one_sender_of_the_body():
    beginning, end = header_run(2), header_run(2, sends=True)
    end.started_ns, end.root_span_id = beginning.started_ns, beginning.root_span_id
    beginning.final, end.segment = False, 1
    store(beginning)
    store(end)
    [body] = store(run(4))

    assert told(body) == ([], ("seen", [2]))


def test_segments_of_a_sender_add_their_tasks():
    beginning = sender(1, "first")
    beginning.final = False
    end = sender(1, "second")
    end.started_ns, end.root_span_id = beginning.started_ns, beginning.root_span_id
    end.segment = 1
    store(beginning)
    store(end)
    store(run(2, "first"), run(3, "second"))
    whole = Trace.objects.load(end.trace_id)

    assert told(whole)[0] == [("seen", [(2, 1)]), ("seen", [(3, 1)])]


def test_segments_of_a_run_are_one_run():
    beginning, end = run(2), run(2)
    end.started_ns, end.root_span_id = beginning.started_ns, beginning.root_span_id
    beginning.final, end.segment = False, 1
    store(sender())
    store(beginning)
    store(end)

    assert TaskLink.objects.filter(ran=True).count() == 1


def test_trace_that_comes_again_is_linked_once():
    both = [sender(), run()]
    store(*both)
    exporter = DatabaseExporter(shared_connection=True)
    exporter.store_new(both)
    exporter.shutdown()

    assert TaskLink.objects.count() == 2


def test_tasks_beyond_a_bound_are_counted(monkeypatch):
    monkeypatch.setattr(module, "MOST_TASKS", 2)
    [trace] = store(sender(1, "a", "b", "c"))

    found = task_document(task_links(trace))
    assert [task["task_id"] for task in found["enqueued"]] == ["a", "b"]
    assert found["left_out"] == 1
