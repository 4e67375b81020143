"""Values that raise whatever one asks of them: each costs itself, the rest of the trace is there."""

from __future__ import annotations

import datetime as dt
import decimal
import enum
import logging
import random
import sys
import uuid

import pytest
from django.contrib.auth.models import User
from django.contrib.sessions.models import Session
from django.db.models.signals import m2m_changed, post_save
from django.dispatch import Signal
from django.utils.functional import SimpleLazyObject, lazy

from tests.tracing.instrumentation.conftest import recording
from tracing.exporters.formats import otlp_json
from tracing.instrumentation.assembly import dispatches, knowledge
from tracing.instrumentation.assembly.repair import repaired
from tracing.instrumentation.attributes import redaction
from tracing.instrumentation.attributes.redaction import HIDDEN
from tracing.instrumentation.attributes.values import Redaction, attribute_text
from tracing.instrumentation.dispatch.options import Options
from tracing.instrumentation.patching import instrument
from tracing.spans.codec import lines
from tracing.store.columns import dump

pytestmark = pytest.mark.usefixtures("stock", "keeper", "no_failures")


def explode(*_args, **_named):
    raise RuntimeError("nobody may ask")


class Evil:
    """An object that answers nothing."""

    __eq__ = __str__ = __repr__ = __bool__ = __len__ = __iter__ = __format__ = explode
    __int__ = __index__ = __hash__ = explode
    __class__ = property(explode)

    def __getattr__(self, name):
        explode()


class EvilText(str):
    """A string that answers nothing but its hash."""

    __slots__ = ()
    __eq__ = __ne__ = __str__ = __repr__ = __format__ = __len__ = __getitem__ = __add__ = explode
    __hash__ = str.__hash__


class EvilNumber(int):
    """A number that answers nothing but its hash."""

    __eq__ = __str__ = __repr__ = __format__ = __lt__ = __gt__ = __add__ = __int__ = explode
    __bool__ = __index__ = explode
    __hash__ = int.__hash__


class Huge(enum.Enum):
    """A member whose value cannot be written out."""

    A = 10**5_000


ITSELF = []
ITSELF.append(ITSELF)
VALUES = [
    10**5_000, -(10**5_000), 2**64, float("nan"), float("-inf"), "\ud800", "\x00", "x" * 10**6,
    "\x1b[31m\u202e", b"\xff" * 1_000, Evil(), EvilText("e"), EvilNumber(5), Huge.A, None, True,
    uuid.UUID(int=5),
    decimal.Decimal("sNaN"), decimal.Decimal("1e999999"), dt.date.max, SimpleLazyObject(explode),
    lazy(explode, str)(), object, Evil, [1] * 100_000, {EvilText("k"): 1}, {(1, 2): Evil()}, ITSELF,
    range(10**9), (item for item in ()), memoryview(b"x"), User(pk=10**5_000),
    Session(session_key=EvilText("z")),
]  # fmt: skip


class EvilMeta(type):
    """A class of classes that answer nothing."""

    __eq__ = __str__ = __repr__ = __bool__ = __len__ = __iter__ = __instancecheck__ = explode
    __subclasscheck__ = explode
    __hash__ = type.__hash__

    def __getattribute__(cls, name):
        explode()


def odd_class(chance, base=object):
    """Return a class whose names are not what names are, or that answers nothing."""
    if base is None:
        return chance.choice([EvilMeta("Evil", (), {}), odd_class(chance)])
    made = type("Odd", (base,), {})
    name, value = chance.choice(
        [
            ("__module__", Evil()),
            ("__module__", EvilText("module")),
            ("__module__", 10**5_000),
            ("__module__", "m" * 10**6),
            ("__qualname__", EvilText("Name")),
            ("__qualname__", "N\ud800\x00\x1b" * 1_000),
        ]
    )
    setattr(made, name, value)
    return made


def odd_receiver(chance):
    """Return a receiver that returns, or raises, what nobody expects."""

    def receiver(**named):
        if chance.random() < 0.2:
            raise odd_class(chance, Exception)(chance.choice(VALUES))
        return chance.choice([*VALUES, odd_class(chance)()])

    return receiver


def send_one(chance, signal):
    def value():
        return chance.choice(VALUES)

    match chance.randrange(7):
        case 0:
            signal.send_robust(odd_class(chance), x=value(), y=value())
        case 1:
            post_save.send_robust(
                User, instance=User(pk=value()), created=value(), raw=value(), using=value(),
                update_fields=value(),
            )  # fmt: skip
        case 2:
            m2m_changed.send_robust(
                User, instance=User(pk=value()), action=value(), reverse=value(), pk_set=value(),
                using=value(), model=value(),
            )  # fmt: skip
        case 3:
            signal.send_robust(object, **{"n" * 100_000: value(), "instance": value()})
        case 4:
            signal.send_robust(object, about=odd_class(chance, None)(), instance=odd_class(chance))
        case 5:
            signal.send_robust(object, instance=odd_class(chance, None)())
        case _:
            signal.send_robust(object, about=Session(session_key=value()))


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.thorough
def test_every_dispatch_is_recorded_whatever_its_values(seed, monkeypatch):
    # Django logs what its robust sends caught, and the log asks it for its name.
    monkeypatch.setattr(logging.getLogger("django.dispatch"), "disabled", True)
    chance = random.Random(seed)
    signal, receiver = Signal(), odd_receiver(chance)
    signals = (signal, post_save, m2m_changed)
    for each in signals:
        each.connect(receiver)
    undo = instrument(options=Options(values=Redaction()), sql=False, side_effects=False)
    try:
        with recording() as recorded:
            for _ in range(100):
                send_one(chance, signal)
                recorded.active.attributes["about"] = attribute_text("about", chance.choice(VALUES))
    finally:
        undo()
        for each in signals:
            each.disconnect(receiver)

    trace = recorded.trace
    written = b"".join(line for _level, _event, line in lines(repaired(trace))).decode()
    assert trace.dispatch_count == len(trace.dispatches) == 100
    assert trace.unreadable == []
    assert len(written) < 1_000_000
    assert dump(otlp_json([trace]))


def test_classes_of_loaded_modules_may_have_any_module(monkeypatch):
    odd = type(sys)("odd_module")
    odd.Odd = type("Odd", (), {})
    odd.Odd.__module__ = Evil()
    monkeypatch.setitem(sys.modules, "odd_module", odd)
    signal = Signal()
    signal.connect(explode, weak=False)
    undo = instrument(sql=False, side_effects=False)

    with recording() as recorded:
        signal.send_robust(None)
    undo()

    assert recorded.trace.dispatches[0].signal == "django.dispatch.Signal (unnamed)"


def receive(**_named):
    pass


@pytest.mark.parametrize(
    ("module", "broken", "what"),
    [
        (dispatches, "put_details", "the details of a dispatch"),
        (knowledge, "callsite", "a callsite"),
        (dispatches, "_outcome_of", "an event"),
    ],
)
def test_what_cannot_be_read_is_told_and_the_rest_is_kept(monkeypatch, module, broken, what):
    signal = Signal()
    signal.connect(receive)
    failing = Signal()
    failing.connect(explode)
    undo = instrument(sql=False, side_effects=False)
    with monkeypatch.context() as patch:
        patch.setattr(module, broken, explode)
        patch.setattr(knowledge, "failed", lambda place, error: None)
        with recording("") as recorded:
            signal.send(None, a=1)
            failing.send_robust(None)
            signal.send(None, a=2)
    undo()

    assert recorded.trace.dispatch_count == 3
    assert [entry[0] for entry in recorded.trace.unreadable] == [what]
    assert recorded.trace.unreadable[0][1] == "RuntimeError"


def test_a_text_whose_secrets_cannot_be_told_is_hidden(monkeypatch):
    redaction.is_suspect.cache_clear()
    with recording("work") as recorded:
        recorded.active.attributes["about"] = "password=x"
        monkeypatch.setattr(knowledge, "failed", lambda place, error: None)
        monkeypatch.setattr(redaction, "_SUSPECT", None)

    assert recorded.trace.name == HIDDEN
    assert recorded.trace.attributes == {"about": HIDDEN}
    assert recorded.trace.unreadable == [("a text", "AttributeError", 3)]
