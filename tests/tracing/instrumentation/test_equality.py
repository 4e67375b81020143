"""Tests of whether two receivers are one function, bound to the same things."""

from __future__ import annotations

import functools
import importlib.util

import pytest

from tracing.instrumentation.attributes import equality
from tracing.instrumentation.attributes.equality import is_same_function, outline, twins_among
from tracing.instrumentation.attributes.names import receiver_label


def plain(sender, **kwargs):
    raise AssertionError("nobody calls it")


def other(sender, **kwargs):
    raise AssertionError("nobody calls it")


def make(*bound, **named):
    def receive(sender, flag=bound, *, word=named, **kwargs):
        raise AssertionError("nobody calls it", bound, named)

    return receive


def decorate(function):
    @functools.wraps(function)
    def wrapper(sender, **kwargs):
        return function(sender, **kwargs)

    return wrapper


def bare(function):
    def wrapper(*args, **kwargs):
        return function(*args, **kwargs)

    return wrapper


def only_for(model):
    def decorator(function):
        @functools.wraps(function)
        def wrapper(sender, **kwargs):
            return function(sender, model=model, **kwargs)

        return wrapper

    return decorator


class Decorated:
    def __init__(self, function):
        functools.update_wrapper(self, function)

    def __call__(self, sender, **kwargs):
        raise AssertionError("nobody calls it")


def unset():
    def receive(sender, **kwargs):
        return value

    if not unset:
        value = 1
    return receive


class Index:
    def __init__(self, *values):
        self.values = values

    def on_save(self, sender, **kwargs):
        raise AssertionError("nobody calls it")

    @classmethod
    def on_delete(cls, sender, **kwargs):
        raise AssertionError("nobody calls it")

    def __call__(self, sender, **kwargs):
        raise AssertionError("nobody calls it")

    def __eq__(self, other):
        raise AssertionError("nobody asks it")

    __hash__ = None


class Slotted:
    __slots__ = ("values",)

    def __init__(self, *values):
        self.values = values

    def __call__(self, sender, **kwargs):
        raise AssertionError("nobody calls it")


class Recursive:
    def __init__(self):
        self.itself = self

    def __call__(self, sender, **kwargs):
        raise AssertionError("nobody calls it")


shared = object()


SAME = [
    (plain, plain),
    (make("a", 1), make("a", 1)),
    (make([1, "b"], key={"a": (1, 2)}), make([1, "b"], key={"a": (1, 2)})),
    (make(shared), make(shared)),
    (make(plain), make(plain)),
    (decorate(plain), decorate(plain)),
    (functools.partial(plain, 1, a="b"), functools.partial(plain, 1, a="b")),
    (Index("a").on_save, Index("a").on_save),
    (Index.on_delete, Index.on_delete),
    (Index("a"), Index("a")),
    (Index(), Index()),
    (Slotted("a"), Slotted("a")),
    (plain, functools.partial(plain)),
    (plain, decorate(plain)),
    (plain, bare(plain)),
    (plain, decorate(bare(plain))),
    (bare(plain), bare(plain)),
    (plain, Decorated(plain)),
    (functools.partial(decorate(plain)), plain),
    (only_for(1)(plain), only_for(1)(plain)),
]


@pytest.mark.parametrize(("first", "second"), SAME)
def test_same_function_bound_to_the_same(first, second):
    assert is_same_function(first, second)
    assert is_same_function(second, first)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (plain, other),
        (make("a"), make("b")),
        (make(1), make(True)),
        (make(1), make(1.0)),
        (make([1]), make([1, 2])),
        (make(object()), make(object())),
        (make(plain), make(other)),
        (make(a=1), make(b=1)),
        (make(a={1: 2}), make(a={1: 2})),
        (decorate(plain), decorate(other)),
        (functools.partial(plain, 1), functools.partial(plain, 2)),
        (functools.partial(plain, a=1), functools.partial(plain, b=1)),
        (Index("a").on_save, Index("b").on_save),
        (Index("a").on_save, Index("a").__call__),
        (Index("a"), Index("b")),
        (Slotted("a"), Slotted("b")),
        (Slotted("a"), Slotted.__new__(Slotted)),
        (plain, decorate(other)),
        (plain, functools.partial(plain, 1)),
        (plain, bare(other)),
        (bare(plain), bare(other)),
        (only_for(1)(plain), only_for(2)(plain)),
        (Recursive(), Recursive()),
        (unset(), unset()),
        (len, max),
    ],
)
def test_different_functions_or_bindings(first, second):
    assert not is_same_function(first, second)
    assert not is_same_function(second, first)


def test_same_function_of_one_file_imported_under_two_names(tmp_path):
    path = tmp_path / "receivers.py"
    path.write_text(
        "def index(sender, **kwargs):\n    pass\n\n\ndef total(sender, **kwargs):\n    pass\n"
    )
    modules = []
    for name in ("shop.receivers", "src.shop.receivers"):
        spec = importlib.util.spec_from_file_location(name, path)
        modules.append(importlib.util.module_from_spec(spec))
        spec.loader.exec_module(modules[-1])
    first, second = modules

    assert is_same_function(first.index, second.index)
    assert not is_same_function(first.index, second.total)


# -- Among many ------------------------------------------------------------------------------------


def among(receivers):
    labels = tuple(receiver_label(receiver) for receiver in receivers)
    return twins_among(labels, lambda n: outline(receivers[n]), receivers.__getitem__)


@pytest.mark.parametrize(("first", "second"), SAME)
def test_outlines_and_places_of_twins_are_the_same(first, second):
    assert outline(first) == outline(second)
    assert among([first, len, second]) == (None, None, 0)


@pytest.fixture
def compared(monkeypatch):
    """Return what has been compared, without what was compared inside that."""
    pairs = []
    same = equality.is_same_function

    def counting(first, second, *depth):
        if not depth:
            pairs.append((first, second))
        return same(first, second, *depth)

    monkeypatch.setattr(equality, "is_same_function", counting)
    return pairs


class Listener:
    def __init__(self, number):
        self.number = number

    def hears(self, **named):
        pass


def test_methods_of_many_objects_are_compared_no_more_often_than_there_are_objects(compared):
    receivers = [Listener(number % 100).hears for number in range(160)]

    duplicate_of = among(receivers)

    assert duplicate_of == (None,) * 100 + tuple(range(60))
    assert len(compared) == 60


def test_what_looks_alike_and_differs_inside_is_compared_with_few(compared):
    receivers = [Listener([number]).hears for number in range(160)]

    assert among(receivers) == ()
    assert len(compared) <= 160 * 4


def test_long_containers_are_not_walked():
    assert not is_same_function(Listener([0] * 1_000_000).hears, Listener([0] * 1_000_000).hears)


def test_receivers_in_places_of_their_own_are_not_looked_at():
    def first(**named):
        pass

    def second(**named):
        pass

    assert twins_among(tuple(map(receiver_label, (first, second))), None, None) == ()
