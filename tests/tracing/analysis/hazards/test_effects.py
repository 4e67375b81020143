"""Tests of the rules about side effects and transactions."""

from __future__ import annotations

import pytest

from tests.tracing.analysis.building import TraceBuilder
from tracing.analysis.hazards import configure, find
from tracing.spans.records import Callsite, Kind, Method, TransactionOutcome

NAMES = [
    "core.sales.receivers.notify",
    "core.sales.services.Notifier.on_sale",
    "functools.partial(core.sales.receivers.notify)",
]


def effect(kind="mail", name=NAMES[0], *, trace_kind=Kind.REQUEST, dispatch=None, **options):
    build = TraceBuilder(trace_kind)
    sent = build.dispatch(**(dispatch or {}))
    build.side_effect(build.call(sent, name), kind, **options)
    return build


def ids(build):
    return {hazard.hazard for hazard in find(build.build())}


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    ("kind", "done"),
    [("mail", "sent mail"), ("task", "enqueued a task"), ("socket", "opened a socket")],
)
def test_side_effect_in_transaction_is_found(kind, done, name):
    build = effect(kind, name, target="x", callsite=Callsite("/app/core/mail.py", 7, "send"))
    (hazard,) = find(build.build())

    assert hazard.hazard == "side-effect-in-transaction"
    assert hazard.receiver == name
    assert hazard.message.endswith(
        f"{done} (x) at /app/core/mail.py:7 while the transaction of post_save of orders.Order was "
        "still open."
    )
    assert hazard.numbers == [2]


@pytest.mark.parametrize(
    "options",
    [
        {"dispatch": {"signal": "m2m_changed", "action": "post_add"}},
        {"dispatch": {"signal": "order_placed", "method": Method.SEND_ROBUST}},
        {"dispatch": {"signal": "order_placed", "method": Method.ASEND}},
        {"trace_kind": Kind.COMMAND},
        {"transaction": TransactionOutcome.UNKNOWN},
        {"trace_kind": Kind.TEST, "transaction": TransactionOutcome.TEST},
    ],
)
def test_side_effect_in_transaction_is_found_everywhere(options):
    assert ids(effect(**options)) == {"side-effect-in-transaction"}


@pytest.mark.parametrize(
    "options",
    [
        {"in_on_commit": True},
        {"transaction_depth": 0, "transaction": TransactionOutcome.NONE},
        {
            "transaction_depth": 0,
            "transaction": TransactionOutcome.TEST,
            "trace_kind": Kind.TEST,
        },
        {"kind": "task", "backend": "django_tasks.backends.database.DatabaseBackend"},
        {"kind": "task", "backend": "celery.eager"},
        {"kind": "mail", "backend": "mailer.backend.DbBackend"},
    ],
)
def test_side_effect_in_transaction_leaves_alone(options):
    assert ids(effect(**options)) == set()


def test_on_commit_of_another_database_is_named_and_the_remedy_is_its_alias():
    told = effect(
        using="archive", ran_at_once_on="default", transaction=TransactionOutcome.ROLLED_BACK
    )
    (hazard,) = find(told.build())

    assert hazard.hazard == "rolled-back-side-effect"
    assert (
        "sent mail (1 recipient), at once in on_commit() of 'default', which had no transaction, while "
        "the transaction of post_save of orders.Order on 'archive' was open" in hazard.message
    )
    assert hazard.remedy.startswith(
        "Give on_commit() the alias of that transaction: using='archive'"
    )


def test_side_effect_in_transaction_leaves_code_outside_receivers_alone():
    build = TraceBuilder()
    build.call(build.dispatch())
    build.side_effect(None)

    assert ids(build) == set()


def test_side_effect_in_transaction_leaves_a_backend_that_the_project_named_alone():
    chosen = configure(
        {"HAZARDS": {"side-effect-in-transaction": {"transactional_backends": ["queue.Db"]}}}
    )
    build = effect("task", backend="queue.DbBackend")

    assert find(build.build(), chosen) == []


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    ("kind", "outcome"),
    [
        ("mail", TransactionOutcome.ROLLED_BACK),
        ("task", TransactionOutcome.ROLLED_BACK),
        ("socket", TransactionOutcome.SAVEPOINT_ROLLED_BACK),
    ],
)
def test_rolled_back_side_effect_is_found(kind, outcome, name):
    (hazard,) = find(effect(kind, name, transaction=outcome).build())

    assert hazard.hazard == "rolled-back-side-effect"
    assert hazard.severity == "error"
    assert hazard.message.endswith("was open, and it then rolled back.")
    assert hazard.receiver == name


@pytest.mark.parametrize(
    "options",
    [
        {"in_on_commit": True, "transaction": TransactionOutcome.ROLLED_BACK},
        {"transaction": TransactionOutcome.COMMITTED},
        {"transaction_depth": 0, "transaction": TransactionOutcome.TEST},
        {
            "kind": "task",
            "backend": "django_tasks_db.backend.DatabaseBackend",
            "transaction": TransactionOutcome.ROLLED_BACK,
        },
    ],
)
def test_rolled_back_side_effect_leaves_alone(options):
    assert "rolled-back-side-effect" not in ids(effect(**options))


def test_side_effects_of_one_kind_are_one_finding():
    build = TraceBuilder()
    for number in range(3):
        build.side_effect(build.call(build.dispatch(at=f"core.views.v:{number}")))
    (hazard,) = find(build.build())

    assert "sent mail (1 recipient) 3 times" in hazard.message
    assert hazard.numbers == [2, 4, 6]
