"""Questions to ClickHouse, within the time for a page."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, Final, TypeVar

import msgspec
from django.db import OperationalError

from tracing.conf import get_settings
from tracing.pipeline import TemporaryError
from tracing.pipeline.suppression import unrecorded
from tracing.store import deadlines
from tracing.store.clickhouse.connection import Address, BadValueError, TooSlowError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from clickhouse_connect.driver.client import Client

_Row = TypeVar("_Row")

_SHORTEST: Final = 0.05
_SETTINGS: Final = {
    # All or an error: half an answer would be taken for a whole one.
    "wait_end_of_query": 1,
    "output_format_json_quote_64bit_integers": 0,
    # Of a cluster: each subquery is asked once, of all shards.
    "distributed_product_mode": "global",
}


class UnreachableError(OperationalError):
    """ClickHouse does not answer, or not as the table of spans would."""


class Binder:
    """The values of a statement, which never stand in its text."""

    def __init__(self) -> None:
        self.values: dict[str, Any] = {}

    def __call__(self, value: str | int | Sequence[str]) -> str:
        """Return what stands for *value*: a text, a number, or several texts."""
        name = f"p{len(self.values)}"
        if isinstance(value, str):
            self.values[name] = value
            return f"{{{name}:String}}"
        if isinstance(value, int):
            self.values[name] = max(min(value, 2**62), -(2**62))
            return f"{{{name}:Int64}}"
        self.values[name] = list(value)
        return f"{{{name}:Array(String)}}"

    def moment(self, at_ns: int) -> str:
        """Return what stands for the moment *at_ns*, wall clock."""
        return f"fromUnixTimestamp64Nano({self(at_ns)})"


class _Connections:
    """One connection of this process, for the address that the settings name.

    No lock: while ClickHouse is away each page waits for itself alone.
    """

    def __init__(self) -> None:
        self._open: tuple[Address, Client] | None = None
        self._of_parent: tuple[Address, Client] | None = None

    def get(self, address: Address) -> Client:
        found = self._open
        if found is None or found[0] != address:
            self._open = found = (address, address.connect())
        return found[1]

    def drop(self) -> None:
        """Connect anew the next time; other threads may still wait for an answer."""
        self._open = None

    def after_fork(self) -> None:
        """Leave the connection to the parent process."""
        self._open, self._of_parent = None, self._open


_connections: Final = _Connections()
os.register_at_fork(after_in_child=_connections.after_fork)
forget_connection: Final = _connections.drop


def address() -> Address:
    """Return where the exporter writes, with the time for a page."""
    settings = get_settings()
    chosen = settings.clickhouse
    timeout = min(chosen.timeout, settings.viewer.max_seconds)
    return Address(chosen.url, chosen.user, chosen.password, chosen.database, chosen.table, timeout)


def table(suffix: str = "") -> str:
    """Return the name of a table for a statement."""
    return address().quoted(suffix)


def rows(kind: type[_Row], sql: str, bind: Binder | None = None) -> list[_Row]:
    """Return the rows of the answer to *sql*, each as *kind*.

    Raises:
        UnreachableError: There is no answer.
        TimeUpError: It would come too late.
    """
    left = deadlines.left()
    if left is not None and left <= 0:
        raise deadlines.TimeUpError
    where = address()
    seconds = max(where.timeout if left is None else min(left, where.timeout), _SHORTEST)
    try:
        with unrecorded():
            answer = where.ask(
                _connections.get(where),
                sql,
                bind.values if bind else {},
                {**_SETTINGS, "max_execution_time": f"{seconds:.3f}"},
            )
    except TooSlowError:
        raise deadlines.TimeUpError from None
    except (TemporaryError, BadValueError, ImportError, OSError) as error:
        _connections.drop()
        if deadlines.is_over():
            raise deadlines.TimeUpError from None
        raise UnreachableError(str(error)) from None
    text = answer.decode(errors="replace").encode()
    decode = msgspec.json.Decoder(kind).decode
    try:
        return [decode(line) for line in text.splitlines() if line]
    except (ValueError, RecursionError) as error:
        raise UnreachableError(
            f"ClickHouse at {where.place} answers what is none: {error}"
        ) from None


def one(kind: type[_Row], sql: str, bind: Binder | None = None) -> _Row:
    """Return the only row of the answer to *sql*; see ``rows``."""
    found = rows(kind, sql, bind)
    if not found:
        raise UnreachableError(f"ClickHouse at {address().place} answers nothing")
    return found[0]
