"""The choice of the store: Django's database, or ClickHouse.

A function of the store that the faces call is marked by ``asked``. Where the settings choose ClickHouse
its namesake in ``tracing.store.clickhouse`` answers; Django's own is not changed by it.
"""

from __future__ import annotations

from functools import wraps
from importlib import import_module
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from tracing.conf import get_settings

if TYPE_CHECKING:
    from collections.abc import Callable

_P = ParamSpec("_P")
_R = TypeVar("_R")


class NotAnsweredError(Exception):
    """The chosen store never answers such a question."""


def asks_clickhouse() -> bool:
    """Return whether pages and command read ClickHouse."""
    return get_settings().store == "clickhouse"


def asked(function: Callable[_P, _R]) -> Callable[_P, _R]:
    """Let *function* be answered by the store that the settings choose."""
    name, module = function.__name__, function.__module__.rpartition(".")[2]

    @wraps(function)
    def ask(*args: _P.args, **named: _P.kwargs) -> _R:
        if not asks_clickhouse():
            return function(*args, **named)
        found = answer_of(module, name)
        if found is None:
            about = name.replace("_", " ")
            raise NotAnsweredError(
                f"ClickHouse does not answer this ({about}): it is kept in Django's database alone. "
                'TRACING["STORE"] = "database" reads that.'
            )
        answer: _R = found(*args, **named)
        return answer

    return ask


def answer_of(module: str, name: str) -> Callable[..., Any] | None:
    """Return the function of ClickHouse's that is called so, or None."""
    try:
        answering = import_module(f"tracing.store.clickhouse.{module}")
    except ModuleNotFoundError as error:
        if error.name != f"tracing.store.clickhouse.{module}":
            raise
        return None
    found: Callable[..., Any] | None = getattr(answering, name, None)
    return found
