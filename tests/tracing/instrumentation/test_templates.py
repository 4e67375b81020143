"""Traces that recorded the same as an earlier one come out as if they were read.

Each trace here is also read by a collector, which has no templates: ``recording`` compares the two.
"""

from __future__ import annotations

import pytest
from django.db import connection, transaction
from django.dispatch import Signal
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.tracing.instrumentation.conftest import recording
from tracing.instrumentation.assembly import templates
from tracing.instrumentation.assembly.templates import Template
from tracing.instrumentation.patching import instrument
from tracing.spans.records import TransactionOutcome

pytestmark = [pytest.mark.usefixtures("traced"), pytest.mark.django_db]

signal = Signal()


class Car:
    pass


class Order:
    pass


@pytest.fixture
def traced(stock, no_failures):
    templates._known.clear()
    undo = instrument()
    yield
    undo()
    templates._known.clear()


@pytest.fixture
def made(monkeypatch):
    """Return a list of the spans that came from templates."""
    found = []
    spans = Template.spans

    def counted(self, *args):
        found.append(spans(self, *args))
        return found[-1]

    monkeypatch.setattr(Template, "spans", counted)
    return found


def do(plan):
    for what, below in plan:
        if what == "query":
            connection.cursor().execute("SELECT 1")
        elif what == "block":
            with transaction.atomic():
                do(below)
        elif what == "rolled back":
            with transaction.atomic():
                do(below)
                transaction.set_rollback(True)
        else:
            getattr(signal, what[0])(what[1], plan=below, **what[2])


def receive(plan, **_named):
    do(plan)


def answer(plan, **_named):
    do(plan[:1])
    return "an answer"


def fail(plan, **_named):
    if len(plan) == 1:
        raise ValueError("one is too few")


def plans():
    """Return a strategy of what is done: sends, queries and transactions, in one another."""
    send = st.tuples(
        st.sampled_from(["send", "send_robust"]),
        st.sampled_from([None, Car, Order]),
        st.fixed_dictionaries({}, optional={"other": st.just(1)}),
    )
    return st.recursive(
        st.just([]),
        lambda below: st.lists(
            st.tuples(st.sampled_from(["query", "block", "rolled back"]) | send, below), max_size=3
        ),
        max_leaves=8,
    )


@pytest.fixture
def listening():
    receivers = [(receive, None), (answer, Car)]
    for receiver, sender in receivers:
        signal.connect(receiver, sender=sender)
    yield
    for receiver, sender in receivers:
        signal.disconnect(receiver, sender=sender)


@settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(plan=plans())
def test_what_comes_again_is_told_as_if_it_were_read(listening, made, plan):
    templates._known.clear()
    made.clear()
    for _ in range(3):
        with recording("same") as recorded:
            do(plan)
    # Compared with itself as it was learned, then used.
    assert len(made) == (2 if recorded.trace.dispatches else 0)
    if made:
        assert made[1] is not made[0]
        assert recorded.trace.dispatches == made[1]


def test_spans_of_a_template_are_nobody_elses(listening, made):
    traces = []
    for _ in range(4):
        with recording("same") as recorded:
            do([(("send", Car, {}), [("query", [])])])
        traces.append(recorded.trace)
        for dispatch in recorded.trace.dispatches:
            # As whoever leaves something out of a trace may do.
            for call in dispatch.receiver_calls:
                call.statements = ()
                call.query_count += 1
            dispatch.receiver_calls.pop()
            dispatch.signal = "changed"
    assert len(made) == 3
    assert [len(trace.dispatches[0].receiver_calls) for trace in traces] == [1, 1, 1, 1]
    assert traces[3].dispatches[0].receiver_calls[0].query_count == 2


def test_a_failure_has_no_template(listening, made):
    signal.connect(fail)
    try:
        for _ in range(3):
            with recording("same") as recorded:
                do([(("send_robust", Order, {}), [("block", [])])])
    finally:
        signal.disconnect(fail)
    assert not made
    assert recorded.trace.error_count == 1


def test_the_end_of_a_transaction_is_its_own(listening, made, transactional_db):
    inner = [(("send", Order, {}), [])]
    for plan in ("block", "block", "rolled back", "block"):
        with recording("same") as recorded:
            do([(plan, inner)])
        expected = (
            TransactionOutcome.ROLLED_BACK
            if plan == "rolled back"
            else TransactionOutcome.COMMITTED
        )
        assert [each.transaction for each in recorded.trace.dispatches] == [expected]
    assert len(made) == 3


def test_equal_code_of_another_file_is_another_place(listening, made):
    source = "def send(signal):\n    signal.send(None, plan=[])\n"
    functions = []
    for file in ("one.py", "another.py"):
        namespace = {}
        exec(compile(source, file, "exec"), namespace)
        functions.append(namespace["send"])
    first, second = functions
    assert first.__code__ == second.__code__
    for send in (first, first, first, second):
        with recording("same") as recorded:
            send(signal)
        assert recorded.trace.dispatches[0].callsite.file.endswith(send.__code__.co_filename)
    # Learned, used; and of the other place learned.
    assert len(made) == 3


def test_more_like_it_than_are_kept_are_read(listening, made):
    for number in range(templates._MOST_OF_A_NAME + 3):
        for _ in range(2):
            with recording("same"):
                signal.send(None, plan=[], **{f"other_{number}": 1})
    (known,) = templates._known.values()
    assert len(known.templates) <= templates._MOST_OF_A_NAME


def test_a_long_trace_has_none(listening, made, monkeypatch):
    monkeypatch.setattr(templates, "_MOST_VALUES", 30)
    for _ in range(3):
        with recording("same") as recorded:
            do([(("send", None, {}), [])] * 10)
    assert not made
    assert len(recorded.trace.dispatches) == 10


def test_templates_are_forgotten_where_they_would_hold_too_much(listening, made, monkeypatch):
    monkeypatch.setattr(templates, "_MOST_HELD", 100)
    for number in range(20):
        for _ in range(2):
            with recording(f"trace {number}"):
                signal.send(None, plan=[])
    assert 0 < sum(each.held for each in templates._known.values()) < 200
    assert len(made) == 20
