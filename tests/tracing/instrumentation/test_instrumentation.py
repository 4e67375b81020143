from __future__ import annotations

import socket
import threading
from asyncio.base_events import BaseEventLoop

import pytest
from django.apps import apps
from django.core.mail import EmailMessage
from django.core.mail.backends.base import BaseEmailBackend
from django.core.management.base import BaseCommand
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.utils import CursorWrapper, debug_transaction
from django.dispatch import Signal

from tests.tracing.instrumentation.conftest import recording
from tracing.instrumentation import patching
from tracing.instrumentation.patching import (
    STOCK_SENDS,
    fingerprint,
    instrument,
    is_instrumented,
    uninstrument,
)

pytestmark = pytest.mark.usefixtures("stock")

HOOKED = [
    CursorWrapper.execute,
    CursorWrapper.executemany,
    BaseDatabaseWrapper.on_commit,
    BaseDatabaseWrapper.run_and_clear_commit_hooks,
    debug_transaction.__wrapped__,
    BaseDatabaseWrapper.commit.__wrapped__,
    BaseDatabaseWrapper.savepoint_rollback.__wrapped__,
    EmailMessage.send,
    BaseCommand.execute,
    Signal.connect,
    Signal.disconnect,
    Signal._clear_dead_receivers,
    threading.Thread.start,
    threading.Thread._bootstrap_inner,
    BaseEventLoop.create_task,
]


def functions():
    found = [Signal.__dict__[method.value] for method in STOCK_SENDS]
    found.append(socket.socket.__dict__.get("connect", "inherited"))
    return [*found, *(function.__code__ for function in HOOKED)]


def test_undo_leaves_the_very_same_functions():
    before = functions()

    undo = instrument()
    during = functions()
    undo()

    assert all(mine is not stock for mine, stock in zip(during, before, strict=True))
    assert all(mine is stock for mine, stock in zip(functions(), before, strict=True))
    assert [Signal.__dict__[method.value] for method in STOCK_SENDS] == list(STOCK_SENDS.values())
    assert not is_instrumented()


def test_instrument_twice_changes_nothing_and_returns_the_same_undo():
    undo = instrument()
    once = functions()

    again = instrument()

    assert again is undo
    assert all(mine is first for mine, first in zip(functions(), once, strict=True))
    uninstrument()
    uninstrument()
    assert not is_instrumented()


def test_application_ready_twice_instruments_once():
    config = apps.get_app_config("tracing")
    instrument()
    once = functions()

    config.ready()
    config.ready()

    assert all(mine is first for mine, first in zip(functions(), once, strict=True))


def test_undo_after_a_failure_in_the_middle_leaves_the_very_same_functions(monkeypatch):
    before = functions()
    monkeypatch.setattr(patching.effects, "replacements", lambda: 1 / 0)

    with pytest.raises(ZeroDivisionError):
        instrument()

    assert all(mine is stock for mine, stock in zip(functions(), before, strict=True))
    assert not is_instrumented()


def test_patch_made_before_stays_in_force_under_ours_and_after_undo(monkeypatch):
    calls = []
    stock = Signal.send

    def patched(self, sender, **named):
        calls.append(sender)
        return stock(self, sender, **named)

    monkeypatch.setattr(Signal, "send", patched)
    signal = Signal()
    signal.connect(lambda **named: None, weak=False)

    undo = instrument()
    with recording() as recorded:
        signal.send("during")
    undo()
    signal.send("after")
    is_theirs = Signal.send is patched
    monkeypatch.undo()

    assert calls == ["during", "after"]
    assert is_theirs
    assert [dispatch.sender for dispatch in recorded.trace.dispatches] == ["'during'"]


def test_patch_made_after_ours_is_left_to_its_maker(monkeypatch):
    undo = instrument()
    ours = Signal.send

    def patched(self, sender, **named):
        return ours(self, sender, **named)

    Signal.send = patched
    undo()

    assert Signal.send is patched
    Signal.send = STOCK_SENDS[next(iter(STOCK_SENDS))]


def test_replacements_look_like_what_they_replace():
    def looks():
        sends = [Signal.__dict__[method.value].__qualname__ for method in STOCK_SENDS]
        codes = [function.__code__ for function in HOOKED]
        return sends, [
            (code.co_filename, code.co_firstlineno, code.co_qualname, code.co_freevars)
            for code in codes
        ]

    before = looks()

    instrument()

    assert looks() == before
    assert Signal.send_robust.__code__.co_name == "send_robust"
    assert Signal.send.__doc__ == STOCK_SENDS[next(iter(STOCK_SENDS))].__doc__


def test_fingerprint_ignores_comments_and_documentation():
    def first(value):
        """Say one thing."""
        return value  # once

    def second(value):
        """Say another thing."""

        return value

    second.__name__ = "first"
    import inspect

    one = inspect.getsource(first).replace("first", "f")
    two = inspect.getsource(second).replace("second", "f")

    assert one != two
    assert fingerprint(print) == ""
    assert fingerprint(first) != fingerprint(second)
    assert fingerprint(first) == fingerprint(first)


def test_mail_backend_of_a_class_made_later_is_watched():
    signal = Signal()
    instrument()

    class Backend(BaseEmailBackend):
        def send_messages(self, email_messages):
            return len(email_messages)

    def receiver(**named):
        Backend().send_messages([EmailMessage(to=["a@example.com", "b@example.com"])])

    signal.connect(receiver)
    with recording() as recorded:
        signal.send("sender")
    uninstrument()

    assert [(e.kind, e.target) for e in recorded.trace.side_effects] == [("mail", "2 recipients")]
