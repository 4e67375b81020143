"""Tests of the choice between Django's database and ClickHouse."""

from __future__ import annotations

import inspect
import pkgutil
from importlib import import_module

import tracing.store
from tracing.store import choice


def asked():
    """Yield (module, function) of each function that the chosen store answers."""
    for found in pkgutil.iter_modules(tracing.store.__path__, "tracing.store."):
        module = import_module(found.name)
        for function in vars(module).values():
            code = getattr(function, "__code__", None)
            is_own = getattr(function, "__module__", "") == module.__name__
            if is_own and code is not None and code.co_filename == choice.__file__:
                yield found.name.rpartition(".")[2], function


def shape(function):
    """Return what a caller and the type checker see of a function."""
    signature = inspect.signature(function)
    parameters = [
        (each.name, each.kind, each.annotation, each.default is inspect.Parameter.empty)
        for each in signature.parameters.values()
    ]
    return parameters, signature.return_annotation


def test_clickhouse_is_asked_as_the_database_is():
    both = [
        (f"{module}.{function.__name__}", shape(function), shape(answer))
        for module, function in asked()
        if (answer := choice.answer_of(module, function.__name__)) is not None
    ]

    assert len(both) > 40
    assert [entry for entry in both if entry[1] != entry[2]] == []
