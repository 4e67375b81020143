"""What is recorded is what happened: parents, outcomes, queries, transactions, details."""

from __future__ import annotations

import asyncio
import io
import random
import sys
import threading
import unittest
from contextlib import nullcontext
from contextvars import Context, ContextVar, copy_context
from functools import partial
from pathlib import Path

import pytest
from asgiref.sync import async_to_sync, sync_to_async
from django.apps import apps
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Group, Permission, User
from django.contrib.contenttypes.models import ContentType
from django.db import connection, models, transaction
from django.db.models.signals import (
    m2m_changed,
    post_delete,
    post_init,
    post_save,
    pre_delete,
    pre_save,
)
from django.dispatch import Signal
from django.test import TestCase
from django.test.utils import CaptureQueriesContext, isolate_apps
from django.utils.autoreload import file_changed

from tests.tracing.instrumentation.conftest import recording
from tracing.instrumentation import context
from tracing.instrumentation.assembly import assembler
from tracing.instrumentation.attributes.values import Redaction
from tracing.instrumentation.database import bypass
from tracing.instrumentation.dispatch.options import Options
from tracing.instrumentation.patching import instrument, uninstrument
from tracing.spans.records import Outcome, TransactionOutcome

pytestmark = pytest.mark.usefixtures("traced")


@pytest.fixture
def traced(stock, keeper, no_failures):
    undo = instrument()
    yield
    undo()


@pytest.fixture
def connect():
    """Return a ``connect`` whose connections are taken back after the test."""
    made = []

    def connect(signal, receiver, **options):
        signal.connect(receiver, weak=False, **options)
        made.append((signal, receiver, options))
        return receiver

    yield connect
    for signal, receiver, options in made:
        options.pop("weak", None)
        signal.disconnect(receiver, **options)


def nothing(**named):
    pass


def tree(trace):
    """Return the trace as nested lists: (sender, [what each receiver call sent])."""

    sent = trace.sent_by()

    def describe(dispatch):
        return (
            dispatch.sender.strip("'"),
            [
                [describe(inner) for inner in sent.get(call.number, ())]
                for call in dispatch.receiver_calls
            ],
        )

    return [describe(root) for root in trace.roots]


# -- Parents ---------------------------------------------------------------------------------


def test_nested_sends_hang_under_the_receiver_that_sent_them():
    signal, leaf = Signal(), Signal()
    leaf.connect(nothing, weak=False)

    def first(**named):
        leaf.send("a")
        leaf.send_robust("b")

    def second(**named):
        leaf.send("c")

    signal.connect(first, weak=False)
    signal.connect(second, weak=False)
    with recording() as recorded:
        signal.send("root")
        leaf.send("after")

    assert tree(recorded.trace) == [
        ("root", [[("a", [[]]), ("b", [[]])], [("c", [[]])]]),
        ("after", [[]]),
    ]
    assert [d.depth for d in recorded.trace.dispatches] == [0, 1, 1, 1, 0]


@pytest.mark.parametrize("way", ["await", "gather", "task"])
def test_own_time_of_an_async_receiver_is_without_what_it_awaited(way):
    outer, inner = Signal(), Signal()

    async def on_outer(**named):
        if way == "await":
            await inner.asend(None)
        elif way == "gather":
            await asyncio.gather(inner.asend(None), inner.asend(None))
        else:
            await asyncio.create_task(inner.asend(None))

    async def on_inner(**named):
        await asyncio.sleep(0.01)

    outer.connect(on_outer, weak=False)
    inner.connect(on_inner, weak=False)
    with recording() as recorded:
        asyncio.run(outer.asend(None))

    (call,) = recorded.trace.roots[0].receiver_calls
    inside = [dispatch.duration_ns for dispatch in recorded.trace.sent_by()[call.number]]
    assert len(inside) == (2 if way == "gather" else 1)
    assert min(inside) >= 9_000_000
    assert call.self_ns <= call.duration_ns - max(inside)


@pytest.mark.parametrize("method", ["asend", "asend_robust", "send", "send_robust"])
@pytest.mark.parametrize("seed", range(5))
def test_concurrent_async_receivers_each_have_what_they_sent(method, seed):
    signal, leaf, deep = Signal(), Signal(), Signal()
    chance = random.Random(seed)
    deep.connect(nothing, weak=False)

    async def on_leaf(sender, **named):
        await asyncio.sleep(0)
        await deep.asend(f"{sender}.deep")

    leaf.connect(on_leaf, weak=False)

    def receiver_of(name):
        async def receiver(**named):
            for number in range(3):
                for _ in range(chance.randrange(4)):
                    await asyncio.sleep(0)
                await leaf.asend(f"{name}{number}")

        return receiver

    for name in "xyz":
        signal.connect(receiver_of(name), weak=False)
    with recording() as recorded:
        if method.startswith("a"):
            asyncio.run(getattr(signal, method)("root"))
        else:
            getattr(signal, method)("root")

    assert tree(recorded.trace) == [
        (
            "root",
            [[(f"{name}{n}", [[(f"{name}{n}.deep", [[]])]]) for n in range(3)] for name in "xyz"],
        )
    ]


def test_two_asends_at_once_do_not_mix():
    signal, leaf = Signal(), Signal()
    leaf.connect(nothing, weak=False)

    async def receiver(sender, **named):
        for number in range(3):
            await asyncio.sleep(0)
            leaf.send(f"{sender}{number}")

    signal.connect(receiver, weak=False)

    async def view():
        await asyncio.gather(signal.asend("a"), signal.asend("b"))

    with recording() as recorded:
        asyncio.run(view())

    assert sorted(tree(recorded.trace)) == [
        (name, [[(f"{name}{number}", [[]]) for number in range(3)]]) for name in "ab"
    ]


def test_sync_receivers_under_asend_keep_their_parents_in_the_thread_of_the_executor():
    signal, leaf = Signal(), Signal()
    leaf.connect(nothing, weak=False)
    threads = set()

    def first(**named):
        threads.add(threading.get_ident())
        leaf.send("a")

    def second(**named):
        leaf.send("b")

    async def third(**named):
        await leaf.asend("c")

    for receiver in (first, second, third):
        signal.connect(receiver, weak=False)
    with recording() as recorded:
        asyncio.run(signal.asend("root"))

    assert threads != {threading.get_ident()}
    assert tree(recorded.trace) == [("root", [[("a", [[]])], [("b", [[]])], [("c", [[]])]])]
    [root] = recorded.trace.roots
    assert root.receiver_calls[0].thread_switch_ns > 0
    assert [call.outcome for call in root.receiver_calls] == [Outcome.RETURNED] * 3


class OwnThread(threading.Thread):
    """A thread that says itself what it runs."""

    def __init__(self, work):
        super().__init__()
        self.work = work

    def run(self):
        self.work()


THREADS = {
    "plain": lambda work: threading.Thread(target=work),
    "of its own class": OwnThread,
    "timer": lambda work: threading.Timer(0, work),
    "in a copy": lambda work: threading.Thread(target=copy_context().run, args=(work,)),
}
if sys.version_info >= (3, 14):
    THREADS |= {
        "given a copy": lambda work: threading.Thread(target=work, context=copy_context()),
        "given an empty context": lambda work: threading.Thread(target=work, context=Context()),
    }


@pytest.mark.parametrize("kind", THREADS)
def test_thread_that_a_receiver_starts_goes_on_with_its_work(kind):
    signal, leaf = Signal(), Signal()
    leaf.connect(nothing, weak=False)

    def work():
        leaf.send("in the thread")

    def starting(**named):
        thread = THREADS[kind](work)
        thread.start()
        thread.join()
        leaf.send("after it")

    signal.connect(starting, weak=False)
    with recording() as recorded:
        signal.send("root")

    assert tree(recorded.trace) == [("root", [[("in the thread", [[]]), ("after it", [[]])]])]


@pytest.mark.skipif(sys.version_info < (3, 14), reason="threads have contexts since Python 3.14")
def test_context_of_a_thread_is_what_it_was_before():
    signal, told = Signal(), ContextVar("told", default="nothing")
    signal.connect(nothing, weak=False)
    given = copy_context()
    given.run(told.set, "given")
    seen = []

    def work():
        signal.send("in the thread")
        seen.append(told.get())
        told.set("new")

    def fail(failure):
        seen.append(repr(failure.exc_value))

    with recording() as recorded:
        thread = threading.Thread(target=work, context=given)
        thread.start()
        thread.join()
        before, threading.excepthook = threading.excepthook, fail
        try:
            thread = threading.Thread(target=work, context=given)
            given.run(lambda: (thread.start(), thread.join()))
        finally:
            threading.excepthook = before

    assert seen[0] == "given"
    assert "already entered" in seen[1]
    assert given.run(told.get) == "new"
    assert given.run(context.current) is None
    assert [dispatch.sender for dispatch in recorded.trace.dispatches] == ["'in the thread'"]


def test_async_to_sync_inside_a_receiver_keeps_the_parent():
    signal, leaf = Signal(), Signal()
    leaf.connect(nothing, weak=False)

    def receiver(**named):
        async_to_sync(leaf.asend)("inside")

    signal.connect(receiver, weak=False)
    with recording() as recorded:
        signal.send("root")

    assert tree(recorded.trace) == [("root", [[("inside", [[]])]])]


def test_sync_to_async_inside_an_async_receiver_keeps_the_parent():
    signal, leaf = Signal(), Signal()
    leaf.connect(nothing, weak=False)

    async def receiver(**named):
        await sync_to_async(leaf.send)("inside")
        leaf.send("beside")

    signal.connect(receiver, weak=False)
    with recording() as recorded:
        asyncio.run(signal.asend("root"))

    assert tree(recorded.trace) == [("root", [[("inside", [[]]), ("beside", [[]])]])]


def test_library_code_run_by_sync_to_async_is_sent_by_the_line_that_awaits_it():
    signal = Signal()
    signal.connect(nothing, weak=False)

    async def awaiting():
        # A C function: no frame of the application is in the thread that sends.
        await sync_to_async(partial(signal.send, "elsewhere"))()

    with recording() as recorded:
        asyncio.run(awaiting())

    [dispatch] = recorded.trace.dispatches
    assert dispatch.callsite.function == awaiting.__qualname__
    assert dispatch.callsite.line == awaiting.__code__.co_firstlineno + 2


def test_work_that_finds_its_buffer_by_itself_leaves_no_mark():
    marks = []

    async def awaiting():
        before = len(context.current().events)
        await sync_to_async(len)("ab")
        marks.extend(context.current().events[before:])

    with recording():
        asyncio.run(awaiting())

    assert marks == []


def test_failing_async_receiver_says_what_it_raised_and_what_became_of_the_others():
    signal = Signal()

    async def failing(**named):
        await asyncio.sleep(0)
        raise LookupError("lost")

    async def quick(**named):
        return 3

    signal.connect(failing, weak=False)
    signal.connect(quick, weak=False)
    with recording() as recorded, pytest.raises(LookupError):
        asyncio.run(signal.asend("root"))

    [dispatch] = recorded.trace.dispatches
    first, second = dispatch.receiver_calls
    assert (first.outcome, first.exception_type, first.exception_message) == (
        Outcome.RAISED,
        "LookupError",
        "lost",
    )
    assert (second.outcome, second.response_type) == (Outcome.RETURNED, "int")
    assert dispatch.exception_type == "LookupError"


def test_receivers_after_one_that_raised_are_skipped_in_send_and_run_in_send_robust():
    signal = Signal()

    def failing(**named):
        raise ValueError("no")

    signal.connect(nothing, weak=False)
    signal.connect(failing, weak=False)
    signal.connect(lambda **named: "late", weak=False)
    with recording() as recorded:
        with pytest.raises(ValueError, match="no"):
            signal.send("a")
        signal.send_robust("b")

    outcomes = [
        [call.outcome.value for call in d.receiver_calls] for d in recorded.trace.dispatches
    ]
    assert outcomes == [["returned", "raised", "skipped"], ["returned", "raised", "returned"]]
    assert [d.exception_type for d in recorded.trace.dispatches] == ["ValueError", ""]
    assert recorded.trace.error_count == 2


@pytest.mark.parametrize("is_read", [False, True], ids=["at its end", "meanwhile"])
def test_orphan_dispatches_are_counted_per_signal_and_sender_wherever_they_were_sent(is_read):
    signal, silent = Signal(), Signal()

    async def receiver(**named):
        silent.send("in async")
        await silent.asend("in async")

    signal.connect(receiver, weak=False)
    with recording() as recorded:
        for _ in range(3):
            silent.send("outside")
        for _ in range(2):
            asyncio.run(signal.asend("root"))
            if is_read:
                assembler.keep_numbers(context.current_trace())

    counts = {sender: count for _signal, sender, count in recorded.trace.orphans}
    assert counts == {"'outside'": 3, "'in async'": 4}
    assert recorded.trace.orphan_count == 7


def test_async_dispatch_whose_receivers_listen_to_others_is_an_orphan():
    signal = Signal()
    signal.connect(nothing, sender=User, weak=False)
    with recording() as recorded:
        asyncio.run(signal.asend("nobody listens"))

    assert recorded.trace.dispatches == []
    assert [(s, n) for _signal, s, n in recorded.trace.orphans] == [("'nobody listens'", 1)]


# -- Queries ---------------------------------------------------------------------------------


@pytest.mark.django_db
def test_queries_of_receivers_agree_with_connection_queries(connect, django_assert_num_queries):
    def counting(**named):
        list(Group.objects.filter(name="x"))
        Group.objects.count()

    connect(post_save, counting, sender=Group)
    with recording() as recorded, CaptureQueriesContext(connection) as queries:
        with django_assert_num_queries(3):
            Group.objects.create(name="a")
        list(User.objects.all())

    [dispatch] = recorded.trace.dispatches
    [call] = dispatch.receiver_calls
    assert len(queries) == 4
    assert recorded.trace.query_count == 4
    assert (call.query_count, dispatch.query_count) == (2, 2)
    assert 0 < call.query_ns <= call.duration_ns


@pytest.mark.django_db(transaction=True)
def test_queries_of_threads_and_async_receivers_are_counted_where_they_ran():
    signal = Signal()

    def in_the_executor(**named):
        Group.objects.count()

    async def asynchronous(**named):
        await Group.objects.acount()
        await User.objects.acount()

    signal.connect(in_the_executor, weak=False)
    signal.connect(asynchronous, weak=False)
    with recording() as recorded:
        async_to_sync(signal.asend)("root")

    [dispatch] = recorded.trace.dispatches
    assert [call.query_count for call in dispatch.receiver_calls] == [1, 2]
    assert dispatch.query_count == 3


# -- Transactions ----------------------------------------------------------------------------


def outcomes(trace):
    return [
        (d.sender.strip("'"), d.transaction.value, d.transaction_depth) for d in trace.dispatches
    ]


@pytest.mark.django_db(transaction=True)
def test_outcome_of_a_transaction_is_what_became_of_it():
    signal = Signal()
    signal.connect(nothing, weak=False)

    def fail():
        raise ZeroDivisionError

    with recording() as recorded:
        signal.send("none")
        with transaction.atomic():
            signal.send("kept")
            with transaction.atomic():
                signal.send("kept savepoint")
            with pytest.raises(ZeroDivisionError), transaction.atomic():
                signal.send("lost savepoint")
                fail()
            signal.send("kept after")
        with pytest.raises(ZeroDivisionError), transaction.atomic():
            signal.send("lost")
            with transaction.atomic():
                signal.send("released, then lost")
            fail()
        with transaction.atomic():
            signal.send("set back")
            transaction.set_rollback(True)
        with transaction.atomic(), transaction.atomic(savepoint=False):
            signal.send("no savepoint")

    assert outcomes(recorded.trace) == [
        ("none", "none", 0),
        ("kept", "committed", 1),
        ("kept savepoint", "committed", 2),
        ("lost savepoint", "savepoint_rolled_back", 2),
        ("kept after", "committed", 1),
        ("lost", "rolled_back", 1),
        ("released, then lost", "rolled_back", 2),
        ("set back", "rolled_back", 1),
        ("no savepoint", "committed", 1),
    ]


@pytest.mark.django_db(transaction=True)
def test_nested_savepoints_that_are_rolled_back_together():
    signal = Signal()
    signal.connect(nothing, weak=False)
    # Django 6.1 calls it by another name.
    savepoint = getattr(transaction, "savepoint_create", None) or transaction.savepoint
    with recording() as recorded, transaction.atomic():
        outer = savepoint()
        signal.send("outer")
        savepoint()
        signal.send("inner")
        transaction.savepoint_rollback(outer)
        signal.send("again")
        transaction.savepoint_commit(outer)
        signal.send("after")

    assert outcomes(recorded.trace) == [
        ("outer", "savepoint_rolled_back", 2),
        ("inner", "savepoint_rolled_back", 3),
        ("again", "committed", 2),
        ("after", "committed", 1),
    ]


@pytest.mark.django_db(transaction=True)
def test_transaction_of_a_test_case_is_known_as_such_also_after_its_end():
    signal = Signal()
    signal.connect(nothing, weak=False)

    class Case(TestCase):
        def test_it(self):
            signal.send("directly")
            with transaction.atomic():
                signal.send("in a block")
            with transaction.atomic():
                signal.send("rolled back")
                transaction.set_rollback(True)

    with recording() as recorded:
        result = unittest.TextTestRunner(buffer=io.StringIO()).run(
            unittest.TestSuite([Case("test_it")])
        )

    assert result.wasSuccessful()
    assert [(d.sender.strip("'"), d.transaction) for d in recorded.trace.dispatches] == [
        ("directly", TransactionOutcome.TEST),
        ("in a block", TransactionOutcome.TEST),
        ("rolled back", TransactionOutcome.SAVEPOINT_ROLLED_BACK),
    ]


@pytest.mark.django_db(transaction=True)
def test_transaction_of_a_test_case_without_a_block_is_known_by_its_end():
    signal = Signal()
    signal.connect(nothing, weak=False)

    class Case(TestCase):
        def test_it(self):
            signal.send("directly")

    with recording() as recorded:
        result = unittest.TextTestRunner(buffer=io.StringIO()).run(
            unittest.TestSuite([Case("test_it")])
        )

    assert result.wasSuccessful()
    [dispatch] = recorded.trace.dispatches
    assert dispatch.transaction is TransactionOutcome.TEST


@pytest.mark.django_db
def test_transaction_of_a_test_case_is_known_as_such(django_capture_on_commit_callbacks):
    signal, leaf = Signal(), Signal()
    leaf.connect(nothing, weak=False)

    def callback():
        leaf.send("committed")

    def receiver(**named):
        transaction.on_commit(callback)

    signal.connect(receiver, weak=False)
    with recording() as recorded:
        with django_capture_on_commit_callbacks(execute=False) as callbacks, transaction.atomic():
            signal.send("root")

    assert callbacks == [callback]
    [root] = recorded.trace.dispatches
    assert root.transaction is TransactionOutcome.TEST


@pytest.mark.django_db(transaction=True)
def test_what_a_callback_sends_is_linked_to_the_receiver_that_registered_it():
    signal, leaf = Signal(), Signal()
    leaf.connect(nothing, weak=False)

    def receiver(**named):
        transaction.on_commit(lambda: leaf.send("later"))

    signal.connect(receiver, weak=False)
    with recording() as recorded:
        with transaction.atomic():
            signal.send("root")
            transaction.on_commit(lambda: leaf.send("of nobody"))
        leaf.send("after")

    root, later, of_nobody, after = recorded.trace.dispatches
    assert later.sender == "'later'"
    assert later.parent_number == root.receiver_calls[0].number
    assert later.is_detached
    assert root.query_count == 0
    assert [d.parent_number for d in (of_nobody, after)] == [None, None]
    assert [d.transaction.value for d in (root, later)] == ["committed", "none"]


@pytest.mark.django_db(transaction=True)
def test_callback_that_fails_robustly_is_logged_as_django_does_and_the_next_one_runs(caplog):
    ran = []
    with recording(), transaction.atomic():
        transaction.on_commit(lambda: 1 / 0, robust=True)
        transaction.on_commit(lambda: ran.append("next"))

    assert ran == ["next"]
    assert [record.name for record in caplog.records] == ["django.db.backends.base"]
    assert "in on_commit() during transaction (division by zero)." in caplog.text


# -- Details ---------------------------------------------------------------------------------


@pytest.mark.django_db
def test_details_of_save_and_delete(connect):
    for signal in (pre_save, post_save, pre_delete, post_delete):
        connect(signal, nothing, sender=Group)
    with recording() as recorded:
        group = Group.objects.create(name="a")
        key = group.pk
        group.save(update_fields=["name"])
        group.delete()

    found = [
        (d.signal.rpartition(".")[2], d.instance, d.created, d.raw, d.using, d.update_fields)
        for d in recorded.trace.dispatches
    ]
    assert found == [
        ("pre_save", "auth.Group:None", None, False, "default", None),
        ("post_save", f"auth.Group:{key}", True, False, "default", None),
        ("pre_save", f"auth.Group:{key}", None, False, "default", ("name",)),
        ("post_save", f"auth.Group:{key}", False, False, "default", ("name",)),
        ("pre_delete", f"auth.Group:{key}", None, None, "default", None),
        ("post_delete", f"auth.Group:{key}", None, None, "default", None),
    ]
    assert {d.sender for d in recorded.trace.dispatches} == {"auth.Group"}


@pytest.mark.django_db
def test_details_of_many_to_many_from_both_sides(connect):
    connect(m2m_changed, nothing, sender=User.groups.through)
    user = User.objects.create(username="u")
    group, other = Group.objects.create(name="a"), Group.objects.create(name="b")
    with recording() as recorded:
        user.groups.add(group, other)
        group.user_set.remove(user)
        user.groups.clear()

    found = [(d.action, d.instance, d.reverse, d.pk_count) for d in recorded.trace.dispatches]
    assert found == [
        ("pre_add", f"auth.User:{user.pk}", False, 2),
        ("post_add", f"auth.User:{user.pk}", False, 2),
        ("pre_remove", f"auth.Group:{group.pk}", True, 1),
        ("post_remove", f"auth.Group:{group.pk}", True, 1),
        ("pre_clear", f"auth.User:{user.pk}", False, None),
        ("post_clear", f"auth.User:{user.pk}", False, None),
    ]


@pytest.mark.django_db
def test_proxy_is_named_as_the_sender_it_is(connect):
    with isolate_apps("django.contrib.auth"):

        class Staff(User):
            class Meta:
                proxy = True
                app_label = "auth"

    connect(post_save, nothing, sender=Staff)
    with recording() as recorded:
        staff = Staff(username="s")
        staff.save()

    assert [(d.sender, d.instance) for d in recorded.trace.dispatches] == [
        ("auth.Staff", f"auth.Staff:{staff.pk}")
    ]


@pytest.mark.django_db(transaction=True)
def test_inherited_model_is_one_dispatch_with_the_key_of_its_parent(connect):
    with isolate_apps("django.contrib.auth"):

        class Team(Group):
            size = models.IntegerField(default=1)

            class Meta:
                app_label = "auth"

    with connection.schema_editor() as editor:
        editor.create_model(Team)
    connect(post_save, nothing)
    try:
        with recording() as recorded:
            team = Team.objects.create(name="t")
    finally:
        Team.objects.all()._raw_delete("default")
        Group.objects.filter(name="t")._raw_delete("default")
        with connection.schema_editor() as editor:
            editor.delete_model(Team)

    assert [(d.sender, d.instance, d.created) for d in recorded.trace.dispatches] == [
        ("auth.Team", f"auth.Team:{team.pk}", True)
    ]


def test_custom_signal_keeps_the_names_of_its_arguments_and_no_values():
    signal = Signal()
    signal.connect(nothing, weak=False)
    with recording() as recorded:
        signal.send("x", order=5, password="hunter2")

    [dispatch] = recorded.trace.dispatches
    assert dispatch.named == ("order", "password")
    assert dispatch.values == {}


class Hostile:
    """Nothing can be asked of it."""

    def __fail(self, *args):
        raise AssertionError("asked")

    __repr__ = __str__ = __eq__ = __getattr__ = __len__ = __iter__ = __bool__ = __fail
    __hash__ = __format__ = __dir__ = __getattribute__ = __reduce__ = __fail

    @property
    def __class__(self):
        raise AssertionError("asked for its class")


class HostileError(Exception):
    def __str__(self):
        raise AssertionError("asked for its text")

    __repr__ = __str__


@pytest.mark.django_db
def test_values_are_redacted_and_nothing_hostile_or_lazy_is_asked(stock, django_assert_num_queries):
    from django.utils.functional import SimpleLazyObject
    from django.utils.translation import gettext_lazy

    asked = []
    lazy = SimpleLazyObject(lambda: asked.append("lazy"))
    uninstrument()
    instrument(options=Options(values=Redaction()))
    signal = Signal()

    def failing(**named):
        raise HostileError(Hostile())

    signal.connect(nothing, weak=False)
    signal.connect(failing, weak=False)
    users = User.objects.all()

    def send(*args, **named):
        try:
            signal.send(*args, **named)
        except HostileError:
            pass

    with django_assert_num_queries(0), recording() as recorded:
        send(
            Hostile,
            instance=Hostile(),
            users=users,
            lazy=lazy,
            text=gettext_lazy("a"),
            password="hunter2",
            nested={"api_key": "k", "list": [1, [2, [3, [4]]]]},
            long="x" * 1000,
            hostile=[Hostile()],
            number=10**1000,
        )

    [dispatch] = recorded.trace.dispatches
    values = dispatch.values
    assert asked == []
    assert users._result_cache is None
    assert values["password"] == "********************"
    assert (
        values["nested"] == "{'api_key': ********************, 'list': list(1, list(2, <list: 2>))}"
    )
    assert values["users"] == "<django.db.models.query.QuerySet>"
    assert len(values["long"]) < 210
    assert values["number"].startswith("<int of")
    assert "Hostile" in values["hostile"]
    assert dispatch.receiver_calls[1].exception_message.endswith("its text cannot be had>")


@pytest.mark.django_db
def test_text_of_an_error_runs_no_query(django_assert_num_queries):
    signal = Signal()
    users = User.objects.all()

    def failing(**named):
        raise AssertionError(users)

    signal.connect(failing, weak=False)
    with django_assert_num_queries(0), recording() as recorded, pytest.raises(AssertionError):
        signal.send("x")

    [dispatch] = recorded.trace.dispatches
    [call] = dispatch.receiver_calls
    assert users._result_cache is None
    assert call.exception_type == "AssertionError"
    assert call.exception_message == "<django.db.models.query.QuerySet>"


# -- Bypasses --------------------------------------------------------------------------------


@pytest.mark.django_db
def test_writes_past_the_signals_are_recorded_with_who_did_not_hear_of_them(connect):
    connect(post_save, nothing, sender=Group)
    connect(pre_delete, nothing, sender=Permission)
    kind = ContentType.objects.get_for_model(Group)
    with recording() as recorded:
        groups = Group.objects.bulk_create([Group(name="a"), Group(name="b")])
        Group.objects.bulk_create([Group(name="a"), Group(name="c")], ignore_conflicts=True)
        Group.objects.bulk_create(
            [Group(pk=groups[0].pk, name="d")],
            update_conflicts=True,
            update_fields=["name"],
            unique_fields=["id"],
        )
        groups[0].name = "e"
        Group.objects.bulk_update(groups[:1], ["name"])
        Group.objects.filter(name="b").update(name="f")
        Group.objects.filter(name="nobody").update(name="f")
        Permission.objects.filter(content_type=kind)._raw_delete("default")
        Group.objects.create(name="heard")
        ContentType.objects.bulk_create([ContentType(app_label="a", model="b")])

    found = [(b.operation, b.model, b.rows) for b in recorded.trace.bypasses]
    assert found == [
        ("bulk_create", "auth.Group", 2),
        ("bulk_create", "auth.Group", 2),
        ("bulk_create", "auth.Group", 1),
        ("bulk_update", "auth.Group", 1),
        ("update", "auth.Group", 1),
        ("delete", "auth.Permission", 4),
    ]
    first = recorded.trace.bypasses[0]
    assert first.signals == ("django.db.models.signals.post_save",)
    assert [label.name for label in first.receivers] == [f"{__name__}.nothing"]
    assert first.callsite is not None
    assert first.callsite.file == __file__


@pytest.mark.django_db
@pytest.mark.parametrize("debug", [False, True])
def test_saves_are_known_by_one_look_at_the_stack(connect, monkeypatch, debug):
    def look(distance):
        looks.append(distance)
        return sys._getframe(distance + 1)

    connect(post_save, nothing, sender=Group)
    monkeypatch.setattr(bypass, "getframe", look)
    monkeypatch.setattr(bypass, "_distances", {"I": 3, "U": 1_000_000})
    looks = []
    debugging = CaptureQueriesContext(connection) if debug else nullcontext()
    with debugging, recording() as recorded:
        group = Group.objects.create(name="a")
        group.save()
        learning = len(looks)
        Group.objects.create(name="b")
        group.save()
        learned = len(looks) - learning
        Group.objects.filter(name="a").update(name="c")

    assert (learning, learned, len(looks)) == (4, 2, 8)
    assert [(b.operation, b.rows) for b in recorded.trace.bypasses] == [("update", 1)]


@pytest.mark.django_db
def test_what_a_deletion_writes_into_other_rows_is_no_update_of_whoever_deletes(connect):
    connect(post_save, nothing, sender=LogEntry)
    kind = ContentType.objects.create(app_label="a", model="b")
    user = User.objects.create(username="u")
    LogEntry.objects.create(user=user, content_type=kind, action_flag=1)
    with recording() as recorded:
        kind.delete()

    assert [(b.operation, b.model, b.rows) for b in recorded.trace.bypasses] == [
        ("on_delete", "admin.LogEntry", 1)
    ]
    assert recorded.trace.bypasses[0].callsite.file == __file__


@pytest.mark.django_db
def test_what_a_deletion_writes_into_rows_that_it_has_loaded_is_recorded(connect, monkeypatch):
    connect(post_save, nothing, sender=LogEntry)
    relation = LogEntry._meta.get_field("content_type").remote_field
    monkeypatch.setattr(relation, "on_delete", models.SET_DEFAULT)
    kind = ContentType.objects.create(app_label="a", model="b")
    user = User.objects.create(username="u")
    LogEntry.objects.create(user=user, content_type=kind, action_flag=1)
    with recording() as recorded:
        kind.delete()

    assert [(b.operation, b.model, b.rows) for b in recorded.trace.bypasses] == [
        ("on_delete", "admin.LogEntry", 1)
    ]


@pytest.mark.skipif(
    not hasattr(models, "DB_CASCADE"), reason="Django 6.1 lets the database cascade"
)
@pytest.mark.django_db(transaction=True)
def test_cascade_of_the_database_is_recorded(connect):
    class Member(models.Model):
        group = models.ForeignKey(Group, models.DB_CASCADE)

        class Meta:
            app_label = "auth"

    with connection.schema_editor() as editor:
        editor.create_model(Member)
    connect(post_delete, nothing, sender=Member)
    try:
        group = Group.objects.create(name="g")
        Member.objects.create(group=group)
        with recording() as recorded:
            group.delete()
        left = Member.objects.count()
    finally:
        with connection.schema_editor() as editor:
            editor.delete_model(Member)
        del apps.all_models["auth"]["member"]
        apps.clear_cache()

    assert left == 0
    assert [(b.operation, b.model) for b in recorded.trace.bypasses] == [
        ("db_cascade", "auth.Member")
    ]


# -- What else -------------------------------------------------------------------------------


def test_callsite_is_the_line_that_sent_the_signal():
    signal = Signal()
    signal.connect(nothing, weak=False)
    with recording() as recorded:
        signal.send("x")

    [dispatch] = recorded.trace.dispatches
    line = test_callsite_is_the_line_that_sent_the_signal.__code__.co_firstlineno + 4
    assert (dispatch.callsite.file, dispatch.callsite.line) == (__file__, line)
    assert dispatch.callsite.function == "test_callsite_is_the_line_that_sent_the_signal"


@pytest.mark.django_db
def test_callsite_of_a_save_is_outside_django(connect):
    connect(post_init, nothing, sender=Group)
    with recording() as recorded:
        Group(name="x")

    [dispatch] = recorded.trace.dispatches
    assert dispatch.callsite.file == __file__


def test_file_seen_by_the_reloader_is_no_trace_and_part_of_one_that_runs(keeper):
    named = {"sender": None, "file_path": Path("shop/models.py")}

    file_changed.send(**named)
    with recording() as recorded:
        file_changed.send(**named)

    assert keeper.traces() == []
    names = [dispatch.signal.rpartition(".")[2] for dispatch in recorded.trace.dispatches]
    assert names == ["file_changed"]


def test_lone_dispatch_is_a_trace_of_its_own(keeper):
    signal, leaf = Signal(), Signal()
    leaf.connect(nothing, weak=False)
    signal.connect(lambda **named: leaf.send("inside"), weak=False)

    signal.send("one")
    asyncio.run(signal.asend("two"))

    one, two = keeper.traces()
    assert [tree(one), tree(two)] == [
        [("one", [[("inside", [[]])]])],
        [("two", [[("inside", [[]])]])],
    ]
    assert one.kind == "dispatch"
    assert context.current() is None
