"""Interruptions: an exception that comes from outside while code of the recording runs.

Deterministic ones stop a program at the n-th place in the recording where Python looks for them. The
timer's stop it anywhere; ``python -m tests.tracing.instrumentation.interrupting 100000`` counts those that
were lost.
"""

from __future__ import annotations

import _thread
import ctypes
import itertools
import signal
import sys
import threading
from contextlib import contextmanager, suppress
from dis import opmap

import tracing

OWN = tracing.__file__.removesuffix("__init__.py")
UNSEEN = "<frozen tracing."
LOOKS = frozenset(
    number
    for name, number in opmap.items()
    if ("CALL" in name and "INTRINSIC" not in name) or name in {"RESUME", "JUMP_BACKWARD"}
)
"""Instructions at which Python looks whether somebody interrupts."""
WAYS = ("signal", "thread")
"""By the handler of a signal, or set for the thread as ``PyThreadState_SetAsyncExc`` does."""

set_exception = ctypes.pythonapi.PyThreadState_SetAsyncExc
set_exception.argtypes = (ctypes.c_ulong, ctypes.py_object)


class Limit(Exception):
    """A soft time limit."""


class Abort(BaseException):
    """How a server ends a worker that has taken too long."""


class TimeLimit(TimeoutError):
    """One that is what the recording's own statements may raise."""


class KeyLimit(KeyError):
    """The same for those that look something up."""


class AttributeLimit(AttributeError):
    """The same for those that ask for an attribute."""


KINDS = (Limit, TimeLimit, KeyLimit, AttributeLimit, TypeError, RuntimeError)


def is_own(code):
    return code.co_filename.startswith((OWN, UNSEEN))


class Interruption:
    """Interrupts a program once, at place number *at* of the recording."""

    def __init__(self, at, kind, way):
        self.at = at
        self.kind = kind
        self.way = way
        self.places = 0
        self.sent = False
        self.place = ""

    def _trace(self, frame, event, _argument):
        if not is_own(frame.f_code):
            return None
        frame.f_trace_opcodes = True
        if event == "opcode" and frame.f_code.co_code[frame.f_lasti] in LOOKS:
            self.places += 1
            if self.places == self.at:
                self.sent = True
                self.place = f"{frame.f_code.co_qualname}, line {frame.f_lineno}"
                # Without an instruction of this function's own at which Python would look.
                [*map(sys.settrace, (None,))]
                if self.way == "signal":
                    [*map(_thread.interrupt_main, (signal.SIGUSR1,))]
                else:
                    [*map(set_exception, (threading.get_ident(),), (self.kind,))]
                return None
        return self._trace

    def run(self, program):
        """Run *program*; return whether the exception that was sent reached this caller."""

        def handler(_number, _frame):
            raise self.kind("time is up")

        before = sys.gettrace()
        handled = signal.signal(signal.SIGUSR1, handler)
        # Python 3.12 tells of instructions only if some frame asked for them before settrace().
        sys._getframe().f_trace_opcodes = True
        try:
            sys.settrace(self._trace)
            program()
        except self.kind:
            return True
        finally:
            sys.settrace(before)
            signal.signal(signal.SIGUSR1, handled)
        return False


def interruptions(kind, way, *, every=1):
    """Yield interruptions at every so many places, until a program has run through without one."""
    at = 1
    while True:
        interruption = Interruption(at, kind, way)
        yield interruption
        if not interruption.sent:
            return
        at += every


# -- By a timer ---------------------------------------------------------------------------------


@contextmanager
def timer(seconds, kind, raised):
    """Raise an exception of *kind* after so many seconds, once, and count it in *raised*."""

    def handler(_number, _frame):
        raised[0] += 1
        raise kind

    before = signal.signal(signal.SIGALRM, handler)
    try:
        signal.setitimer(signal.ITIMER_REAL, seconds)
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def work():
    """Return programs: nested dispatches in a block, a request, ORM work.

    No async one: an event loop that swallows an exception between two tasks waits for ever, on stock
    Django as well. Those are interrupted at known places.
    """
    from django.contrib.auth.models import Group
    from django.core.handlers.wsgi import WSGIHandler
    from django.db import transaction
    from django.db.models.signals import post_save
    from django.dispatch import Signal
    from django.test import RequestFactory

    ping, pong = Signal(), Signal(use_caching=True)
    handler = WSGIHandler()
    numbers = itertools.count()

    def on_ping(sender, **named):
        pong.send(sender=Signal, number=1)

    def quiet(**named):
        pass

    for signal_, receiver in ((ping, on_ping), (pong, quiet)):
        signal_.connect(receiver, weak=False)
    post_save.connect(quiet, sender=Group, weak=False)

    def request():
        environ = RequestFactory()._base_environ(PATH_INFO="/nowhere/")
        response = handler(environ, lambda status, headers: None)
        list(response)
        response.close()

    def orm():
        with transaction.atomic():
            Group(name=f"new {next(numbers)}").save()
            transaction.set_rollback(True)

    def block():
        with tracing.trace("block"):
            for _ in range(5):
                ping.send(sender=Signal, instance=None)

    return block, request, orm


def reached(error, kind):
    """Return whether *error* is of *kind*, or was raised while such a one was on its way."""
    while error is not None:
        if isinstance(error, kind):
            return True
        error = error.__context__
    return False


def repeat(program, seconds, kind, raised):
    """Run *program* again and again until the timer interrupts it."""
    with timer(seconds, kind, raised):
        while not raised[0]:
            program()


def count_lost(number, seed=1):
    """Interrupt programs *number* times by a timer; return how often each was, and how many were lost."""
    import gc
    import random

    from django.db import DatabaseError, connection, connections

    random_ = random.Random(seed)
    programs = work()
    counts = {}
    # What interrupts a finalizer of Django's own is lost without tracing, too.
    gc.disable()
    for done in range(number):
        program = programs[done % len(programs)]
        # Django makes an answer of an Exception.
        kind = Abort if program.__name__ == "request" else Limit
        raised, caught = [0], False
        try:
            repeat(program, random_.uniform(0.00002, 0.002), kind, raised)
        except (kind, DatabaseError) as error:
            caught = reached(error, kind)
        total, lost = counts.get(program.__name__, (0, 0))
        counts[program.__name__] = (total + raised[0], lost + raised[0] - caught)
        if connection.connection is not None:
            # Interrupted itself, it may be in no state to be closed.
            with suppress(DatabaseError):
                connection.close()
            del connections[connection.alias]
        if done % 500 == 0:
            gc.collect()
            print(done, counts, flush=True)  # noqa: T201 - it may take long.
    gc.enable()
    return counts


if __name__ == "__main__":
    import logging
    import os

    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.settings")
    import django
    from django.conf import settings

    settings.TRACING = {**settings.TRACING, "ENABLED": "--stock" not in sys.argv}
    django.setup()
    from django.core.management import call_command

    call_command("migrate", verbosity=0)
    logging.disable()
    print(count_lost(int(sys.argv[1])))  # noqa: T201 - what this program is for.
