"""What other tools put around a driver's connection sees nothing of what is written."""

from __future__ import annotations

import sqlite3
from contextlib import closing

import pytest
from django.db import connections
from django.db.backends.sqlite3.base import DatabaseWrapper

from tracing.store.backends import open_database


class Wrapped:
    """A stand-in for a connection, as New Relic and OpenTelemetry make them."""

    used = 0

    def __init__(self, connection):
        self.__wrapped__ = connection

    def __getattr__(self, name):
        Wrapped.used += 1
        return getattr(self.__wrapped__, name)


@pytest.fixture
def wrapping(tmp_path, monkeypatch):
    connect = DatabaseWrapper.get_new_connection
    monkeypatch.setattr(
        DatabaseWrapper,
        "get_new_connection",
        lambda self, parameters: Wrapped(Wrapped(connect(self, parameters))),
    )
    path = tmp_path / "wrapped.sqlite3"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE tracing_trace (id)")
    settings = {"ENGINE": "django.db.backends.sqlite3", "NAME": str(path)}
    connections.settings["wrapped"] = connections.configure_settings(
        {"default": settings, "wrapped": settings}
    )["wrapped"]
    yield "wrapped"
    del connections.settings["wrapped"]


def test_rows_are_written_past_the_wrappers_of_a_connection(wrapping):
    database = open_database(wrapping)
    database.connect()
    Wrapped.used = 0
    database.execute("CREATE TABLE things (name text UNIQUE)")
    database.insert("things", ["name"], [("one",), ("two",)])
    rows = database.execute("SELECT name FROM things WHERE name = %s", ("two",)).fetchall()
    database.close()

    assert rows == [("two",)]
    assert Wrapped.used == 0
