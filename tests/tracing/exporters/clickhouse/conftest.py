"""ClickHouse's own engine, served by ``tests/chdb_server.py``."""

from __future__ import annotations

from datetime import timedelta

import pytest

from tracing.exporters.clickhouse.schema import Schema
from tracing.store.clickhouse.connection import Address


@pytest.fixture
def address(engine, request):
    """Return a database of the test's own, with all tables."""
    database = request.node.originalname[:60]
    found = Address(engine, "default", "", database, "otel_traces", 60)
    found.run(Schema(database, keep=timedelta(days=10_000)).statements())
    yield found
    found.run([f"DROP DATABASE `{database}`"])


@pytest.fixture
def ask(address):
    """Return a function that returns the rows of a query to the test's database."""
    client = address.connect()

    def answer(sql):
        return client.query(sql.format(db=f"`{address.database}`")).result_rows

    yield answer
    client.close()
