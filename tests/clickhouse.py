"""A store in ClickHouse's own engine, for tests of what reads it."""

from __future__ import annotations

import subprocess
from contextlib import contextmanager
from pathlib import Path

from django.conf import settings
from django.test import override_settings

from tests.services import give_up, require_chdb
from tracing.exporters.clickhouse.exporter import ClickHouseExporter
from tracing.exporters.clickhouse.schema import TABLES, Schema
from tracing.store import cache
from tracing.store.clickhouse.asking import address, forget_connection, table
from tracing.store.clickhouse.connection import Address

SERVER = Path(__file__).with_name("chdb_server.py")
DATABASE = "read"
_made = set()


@contextmanager
def running_engine(folder):
    """Run an engine with nothing in it; give its address."""
    command = [require_chdb(), str(SERVER), str(folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            if not (port := process.stdout.readline().strip()):
                give_up(f"{command[0]} has no chdb, or it does not start")
            yield f"http://127.0.0.1:{port}"
        finally:
            process.kill()


@contextmanager
def read_from(url, **options):
    """Have pages and command read ClickHouse at *url*."""
    chosen = {"url": url, "database": DATABASE, "timeout": 60, **options}
    tracing = {**settings.TRACING, "STORE": "clickhouse", "CLICKHOUSE": chosen}
    cache.forget()
    try:
        with override_settings(TRACING=tracing):
            yield
    finally:
        forget_connection()


@contextmanager
def empty_store(url):
    """Have pages and command read ClickHouse at *url*, where nothing is stored."""
    made = Address(url, "default", "", DATABASE, "otel_traces", 60)
    emptied = [f"TRUNCATE TABLE {made.quoted(each.suffix)}" for each in TABLES]
    made.run(emptied if url in _made else Schema(DATABASE).statements())
    _made.add(url)
    with read_from(url):
        yield


def exporter():
    """Return what writes into the store that is read."""
    return ClickHouseExporter(address().url, database=DATABASE, service="shop", timeout=60)


def export(*given):
    """Write traces into the store that is read."""
    made = exporter()
    made.export(given)
    made.shutdown()
    return given


def run_sql(statement):
    """Run a statement in which ``{spans}`` is the table of spans."""
    address().run([statement.replace("{spans}", table())])
