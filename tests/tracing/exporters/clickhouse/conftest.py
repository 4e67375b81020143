"""ClickHouse's own engine, served by ``tests/chdb_server.py``."""

from __future__ import annotations

import subprocess
from datetime import timedelta
from pathlib import Path

import pytest

from tests.services import give_up, require_chdb
from tracing.exporters.clickhouse.connection import Address
from tracing.exporters.clickhouse.schema import Schema

SERVER = Path(__file__).resolve().parents[3] / "chdb_server.py"


@pytest.fixture(scope="session")
def engine(tmp_path_factory):
    """Return the address of an engine with nothing in it."""
    command = [require_chdb(), str(SERVER), str(tmp_path_factory.mktemp("clickhouse"))]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            if not (port := process.stdout.readline().strip()):
                give_up(f"{command[0]} has no chdb, or it does not start")
            yield f"http://127.0.0.1:{port}"
        finally:
            process.kill()


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
