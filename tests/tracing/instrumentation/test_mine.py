from __future__ import annotations

import functools
import json
import sys
import types

import pytest
from django.db import close_old_connections
from django.dispatch import Signal

from tests.tracing.instrumentation.conftest import recording
from tracing.instrumentation.attributes import mine, names
from tracing.instrumentation.patching import instrument
from tracing.spans.records import ReceiverLabel

SITE = "/srv/shop/.venv/lib/python3.12/site-packages"


def hear(sender, **named):
    pass


class Hearing(json.JSONDecoder):
    def hear(self, sender, **named):
        pass


@pytest.fixture
def chosen():
    """Choose patterns for the test."""
    yield lambda *patterns: mine.choose(patterns) and names.forget_labels()
    mine.choose(())
    names.forget_labels()


@pytest.fixture
def installed(monkeypatch):
    """Have a module that lies in an installed package, with a function and a class."""
    module = types.ModuleType("reversions")
    module.__file__ = f"{SITE}/reversions.py"
    code = (
        "def save(sender, **named): pass\nclass Base:\n    def save(self, sender, **named): pass\n"
    )
    exec(compile(code, module.__file__, "exec"), module.__dict__)
    monkeypatch.setitem(sys.modules, "reversions", module)
    return module


@pytest.mark.parametrize(
    ("receiver", "expected"),
    [
        (hear, True),
        (functools.partial(hear), True),
        (Hearing().hear, True),
        (Hearing, True),
        (lambda sender, **named: None, True),
        (close_old_connections, False),
        (json.loads, False),
        (functools.partial(json.loads), False),
        (print, False),
        (names.receiver_label, False),
    ],
)
def test_what_is_in_no_package_nor_python_nor_django_nor_the_tracer_is_mine(receiver, expected):
    assert names.receiver_label(receiver).mine is expected


def test_installed_package_is_not_mine_but_what_the_project_makes_of_it_is(installed):
    class Own(installed.Base):
        pass

    assert not names.receiver_label(installed.save).mine
    assert not names.receiver_label(installed.Base().save).mine
    assert names.receiver_label(Own().save).mine
    # Named after the project's module, though each line of it is the package's.
    assert names.receiver_label(Own().save).file == installed.__file__


@pytest.mark.parametrize("file", [None, 5, "", types.SimpleNamespace()])
def test_module_without_a_file_is_decided_by_the_file_of_the_code(monkeypatch, file):
    module = types.ModuleType("odd")
    module.__file__ = file
    monkeypatch.setitem(sys.modules, "odd", module)

    assert mine.is_mine("odd.f", "odd", "/srv/shop/odd.py")
    assert not mine.is_mine("odd.f", "odd", f"{SITE}/odd.py")
    assert not mine.is_mine("odd.f", "odd", "")


def test_module_that_answers_for_anything_is_not_asked(monkeypatch):
    class Hostile(types.ModuleType):
        def __getattribute__(self, name):
            raise RuntimeError

    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "hostile", Hostile("hostile"))
        decided = mine.is_mine("hostile.f", "hostile", "/srv/shop/hostile.py")

    assert decided


def test_patterns_decide_alone(chosen, installed):
    chosen("reversions.*", "*.Hearing.hear")

    assert names.receiver_label(installed.save).mine
    assert names.receiver_label(functools.partial(installed.save)).mine
    assert names.receiver_label(Hearing().hear).mine
    assert not names.receiver_label(hear).mine


def test_it_is_no_part_of_which_receiver_it_is():
    assert ReceiverLabel("a", mine=True) == ReceiverLabel("a")
    assert hash(ReceiverLabel("a", mine=True)) == hash(ReceiverLabel("a"))


@pytest.fixture
def instrumented(stock):
    undo = instrument(sql=False, side_effects=False)
    yield
    undo()


@pytest.mark.usefixtures("instrumented")
def test_recorded_trace_is_mine_if_a_receiver_is():
    own, other = Signal(), Signal()
    own.connect(hear)
    other.connect(close_old_connections)

    with recording() as both:
        other.send(None)
        own.send(None)
    with recording() as neither:
        other.send(None)

    assert [call.receiver.mine for d in both.trace.dispatches for call in d.receiver_calls] == [
        False,
        True,
    ]
    assert (both.trace.is_mine, neither.trace.is_mine) == (True, False)
