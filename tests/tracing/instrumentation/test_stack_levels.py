"""What code that runs below a function with a hook of ours sees of the stack: what it sees without one."""

from __future__ import annotations

import asyncio
import inspect
import logging
import sys
import threading
import traceback
import warnings
from concurrent.futures import ThreadPoolExecutor

import pytest
from django.core import mail
from django.core.management import BaseCommand, call_command
from django.db import DatabaseError, connection, transaction
from django.dispatch import Signal

from tests.tracing.instrumentation.conftest import recording
from tracing.instrumentation.patching import instrument, uninstrument

pytestmark = pytest.mark.usefixtures("stock")


def look(seen: list) -> None:
    """Append what is around the caller: frames, where warnings and log lines of each level point."""
    stack = [(f.filename, f.function, f.lineno) for f in inspect.stack()[1:]]
    depth = next(
        (n for n, (_, name, _) in enumerate(stack) if name in {"observed", "_bootstrap"}),
        len(stack) - 1,
    )
    seen.append(stack[: depth + 1])
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for level in range(1, depth + 3):
            warnings.warn("look", stacklevel=level)
    seen.append([(warning.filename, warning.lineno) for warning in caught])
    logger = logging.getLogger("tests.stack")
    seen.append([logger.findCaller(stacklevel=level)[:3] for level in range(1, max(2, depth - 2))])
    seen.append([sys._getframe(n).f_code.co_qualname for n in range(1, depth + 2)])


def by_mail(seen):
    class Message(mail.EmailMessage):
        def message(self, **policy):
            look(seen)
            return super().message(**policy)

    # Django 6.1 warns of classic settings where the application sends, and not where Django does.
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        Message("subject", "body", to=["a@example.com"]).send()
        mail.mail_admins("subject", "body")
    seen.append([(str(each.message), each.filename, each.lineno) for each in caught])


def by_callback(seen):
    with transaction.atomic():
        transaction.on_commit(lambda: look(seen))


def by_callback_at_once(seen):
    transaction.on_commit(lambda: look(seen))


def by_failing_callback(seen):
    def fail():
        look(seen)
        raise ValueError("from a callback")

    class Handler(logging.Handler):
        def emit(self, record):
            seen.append((record.pathname, record.funcName, record.lineno, record.getMessage()))

    logger = logging.getLogger("django.db.backends.base")
    handler = Handler()
    logger.addHandler(handler)
    try:
        with transaction.atomic():
            transaction.on_commit(fail, robust=True)
    finally:
        logger.removeHandler(handler)


def by_query(seen):
    def wrapper(execute, *args):
        look(seen)
        return execute(*args)

    with connection.execute_wrapper(wrapper), connection.cursor() as cursor:
        cursor.execute("SELECT 1")
        cursor.executemany("UPDATE buyers_buyer SET id = id WHERE id = %s", [(0,)])


def by_transaction(seen):
    class Handler(logging.Handler):
        def emit(self, record):
            seen.append((record.pathname, record.funcName, record.lineno))
            look(seen)

    logger = logging.getLogger("django.db.backends")
    handler, level = Handler(), logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG)
    connection.force_debug_cursor = True
    try:
        with transaction.atomic():
            pass
    finally:
        connection.force_debug_cursor = False
        logger.setLevel(level)
        logger.removeHandler(handler)


def by_command(seen):
    class Command(BaseCommand):
        requires_system_checks = ()

        def handle(self, *args, **options):
            look(seen)

    call_command(Command())


def by_thread(seen):
    thread = threading.Thread(target=look, args=(seen,))
    thread.start()
    thread.join()


def by_work_item(seen):
    with ThreadPoolExecutor(1) as executor:
        executor.submit(look, seen).result()


def by_task(seen):
    async def child():
        look(seen)

    async def main():
        loop = asyncio.get_running_loop()
        await loop.create_task(child())
        await asyncio.gather(child(), child())
        if sys.version_info >= (3, 12):
            loop.set_task_factory(asyncio.eager_task_factory)
            await loop.create_task(child())

    asyncio.run(main())


def by_connect(seen):
    class Sender:
        def __getattr__(self, name):
            look(seen)
            raise AttributeError(name)

    sender, signal = Sender(), Signal()
    signal.connect(by_connect, sender)
    signal.disconnect(by_connect, sender)


def by_receiver(seen):
    signal = Signal()

    def receiver(**named):
        seen.append([f.function for f in inspect.stack()[:3]])

    signal.connect(receiver)
    signal.send("sender")
    signal.send_robust("sender")


def by_async_receiver(seen):
    signal = Signal()

    async def receiver(**named):
        await asyncio.sleep(0)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            for level in (1, 2, 3):
                warnings.warn("look", stacklevel=level)
        seen.append([(warning.filename, warning.lineno) for warning in caught])

    signal.connect(receiver)
    asyncio.run(signal.asend("sender"))


def by_django_task(seen):
    tasks = pytest.importorskip("django.tasks")
    signals = pytest.importorskip("django.tasks.signals")

    def receiver(**named):
        seen.append([f.function for f in inspect.stack()[:4]])

    for name in ("task_enqueued", "task_started", "task_finished"):
        getattr(signals, name).connect(receiver)
    tasks.task(backend="default")(_job).enqueue()


def _job():
    pass


WAYS = [
    by_mail,
    by_callback,
    by_callback_at_once,
    by_failing_callback,
    by_query,
    by_transaction,
    by_command,
    by_thread,
    by_work_item,
    by_task,
    by_connect,
    by_receiver,
    by_async_receiver,
    by_django_task,
]


def while_recording(function):
    instrument()
    try:
        with recording():
            return function()
    finally:
        uninstrument()


def observed(way):
    seen = []
    way(seen)
    return seen


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("way", WAYS)
def test_stack_below_a_hook_is_that_without_it(way):
    stock = observed(way)

    inside = while_recording(lambda: observed(way))

    assert stock
    for mine, theirs in zip(inside, stock, strict=True):
        assert mine == theirs


def failing_query():
    with connection.cursor() as cursor:
        cursor.execute("SELECT nothing FROM nowhere")


def failing_connect():
    Signal().connect(1)


def failing_command():
    class Command(BaseCommand):
        requires_system_checks = ()

        def handle(self, *args, **options):
            raise ValueError("from a command")

    call_command(Command())


def failing_name_of_an_argument(method="send"):
    signal = Signal()
    signal.connect(observed)
    sent = getattr(signal, method)(sender=None, signal=1)
    if asyncio.iscoroutine(sent):
        asyncio.run(sent)


def failing_name_of_an_argument_awaited():
    failing_name_of_an_argument("asend")


FAILING = [
    failing_query,
    failing_connect,
    failing_command,
    failing_name_of_an_argument,
    failing_name_of_an_argument_awaited,
]


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("way", FAILING)
def test_traceback_through_a_hook_is_that_without_it(way):
    def lines():
        try:
            way()
        except (ValueError, TypeError, DatabaseError) as error:
            return [
                (f.filename, f.name, f.lineno) for f in traceback.extract_tb(error.__traceback__)
            ][1:]
        return None

    stock = lines()

    inside = while_recording(lines)

    assert stock
    assert inside == stock
