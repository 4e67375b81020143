"""Other tools around what is hooked: followed behind them, and named by the check."""

from __future__ import annotations

import asyncio
import functools
import sqlite3
import subprocess
import sys

import pytest
from django.core.mail import EmailMessage
from django.db import connection
from django.db.backends.utils import CursorWrapper
from django.dispatch import Signal

from tests.tracing.instrumentation.conftest import recording
from tests.tracing.instrumentation.test_neighbours import by_wraps, first
from tracing.checks import OPENTELEMETRY, check_middleware, check_neighbours
from tracing.instrumentation.connections import neighbours
from tracing.instrumentation.inlining import code_of, innermost
from tracing.instrumentation.patching import instrument, uninstrument
from tracing.project import MIDDLEWARE

pytestmark = pytest.mark.usefixtures("stock")


def in_place(function, wrapper):
    """Exchange the code of *function* for a call of *wrapper* with a copy of it, as ddtrace does."""
    inner = neighbours.copied(function)

    def template(*args, **named):
        called = "wrapper"
        copy = "inner"
        return called(copy, args, named)

    stands_for = {"wrapper": wrapper, "inner": inner}
    code = template.__code__
    function.__code__ = code.replace(
        co_name=function.__name__,
        co_qualname=function.__qualname__,
        co_consts=tuple(stands_for.get(each, each) for each in code.co_consts),
    )
    return inner.__code__


@pytest.fixture
def exchanged():
    """Wrap ``create_task`` in place; return the tasks' coroutines that were seen."""
    create_task = asyncio.BaseEventLoop.create_task
    seen = []

    def watch(inner, args, named):
        seen.append(args[1].__qualname__.rpartition(".")[2])
        return inner(*args, **named)

    code = in_place(create_task, watch)
    yield seen
    create_task.__code__ = code


def test_tasks_are_followed_behind_code_that_a_neighbour_has_exchanged(exchanged, no_failures):
    signal, nested = Signal(), Signal()
    nested.connect(first)
    create_task = asyncio.BaseEventLoop.create_task
    theirs = create_task.__code__

    async def send():
        nested.send("sender")

    async def receiver(**named):
        await asyncio.create_task(send())

    signal.connect(receiver)
    instrument()
    with recording() as recorded:
        asyncio.run(signal.asend("sender"))
    uninstrument()

    outer, inner = recorded.trace.dispatches
    assert inner.parent_number == outer.receiver_calls[0].number
    assert "send" in exchanged
    assert create_task.__code__ is theirs
    assert innermost(create_task) is not create_task


class Wrapper:
    """A wrapper in a class, as New Relic has it."""

    def __init__(self, wrapped):
        self.__wrapped__ = wrapped

    def __get__(self, instance, owner):
        return self.__wrapped__.__get__(instance, owner)


def test_check_names_who_is_around_what_is_recorded_and_where(monkeypatch, exchanged, settings):
    if connection.vendor != "sqlite":
        pytest.skip("one of the four places is the function by which SQLite is connected to")
    settings.MIDDLEWARE = [f"{OPENTELEMETRY}middleware._DjangoMiddleware", MIDDLEWARE]
    monkeypatch.setattr(EmailMessage, "send", Wrapper(EmailMessage.send))
    monkeypatch.setattr(CursorWrapper, "execute", by_wraps(CursorWrapper.execute))
    monkeypatch.setattr(sqlite3.dbapi2, "connect", by_wraps(sqlite3.dbapi2.connect))

    told = [message.msg for message in check_neighbours()]
    places = "CursorWrapper.execute, EmailMessage.send, BaseEventLoop.create_task, sqlite3.dbapi2.connect"

    assert told == [
        "opentelemetry is around MIDDLEWARE.",
        f"{__name__.partition('.')[0]} is around {places}.",
    ]
    assert check_middleware() == []


def test_code_is_found_behind_what_is_around_a_function(exchanged):
    found = [code_of(wrap(first)) for wrap in (by_wraps, Wrapper)]

    assert found == [first.__code__] * 2
    assert code_of(asyncio.BaseEventLoop.create_task).co_varnames[:2] == ("self", "coro")
    assert (code_of(functools.partial(first)), code_of(None), code_of(len)) == (None, None, None)


AROUND_DJANGO = """
import functools, os, sys
import django
from django.conf import settings
from django.core.handlers.asgi import ASGIHandler
from django.core.handlers.wsgi import WSGIHandler
from django.db import models
from django.db.models.sql import compiler
from django.http.response import HttpResponseBase

class Wrapped:
    def __init__(self, function): self.function = function
    def __get__(self, instance, owner): return functools.partial(self.function, instance)

def wrapped(function):
    @functools.wraps(function)
    def inner(*args, **named): return function(*args, **named)
    return inner

for owner, name in ((compiler.SQLInsertCompiler, "execute_sql"), (models.QuerySet, "bulk_create")):
    setattr(owner, name, wrapped(getattr(owner, name)))
for owner, name in ((WSGIHandler, "__call__"), (ASGIHandler, "handle"), (HttpResponseBase, "close")):
    setattr(owner, name, Wrapped(getattr(owner, name)))

settings.configure(
    INSTALLED_APPS=["django.contrib.contenttypes", "django.contrib.auth", "tracing"],
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}},
    TRACING={"EXPORTERS": ["memory"]}, SECRET_KEY="x",
)
django.setup()
import tracing.testing
from django.contrib.auth.models import Group
from django.core.management import call_command
from django.db.models.signals import post_save
from tracing.instrumentation.failures import counts

call_command("migrate", verbosity=0)
post_save.connect(print, sender=Group)
with tracing.testing.capture_dispatches() as captured:
    Group.objects.bulk_create([Group(name="a"), Group(name="b")])
print([(each.operation, each.rows) for each in captured.trace.bypasses], dict(counts))
"""


@pytest.mark.process
def test_writes_and_handlers_are_known_in_the_wrappers_of_who_came_before(tmp_path):
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", AROUND_DJANGO],
        capture_output=True,
        text=True,
        check=False,
    )

    assert (done.stdout.splitlines()[-1:], done.stderr) == (["[('bulk_create', 2)] {}"], "")


def test_check_is_silent_where_nobody_is_around_anything():
    for undo in (lambda: None, instrument()):
        assert check_neighbours() == []
        undo()
