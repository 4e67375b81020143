"""The verb ``clickhouse-schema``."""

from __future__ import annotations

import socket

import pytest
from django.test import override_settings

from tests.tracing.command_line import error_of, run


def with_options(**options):
    return override_settings(TRACING={"CLICKHOUSE": options})


def test_statements_are_printed_and_nothing_is_asked():
    with with_options(url="http://nowhere.invalid", database="traces", keep="30d"):
        printed = run("clickhouse-schema")

    assert printed.startswith("CREATE DATABASE IF NOT EXISTS `traces`;\n\n")
    assert printed.count("CREATE TABLE IF NOT EXISTS `traces`.`otel_traces") == 7
    assert printed.count("CREATE MATERIALIZED VIEW") == 8
    assert printed.count("CREATE OR REPLACE VIEW") == 2
    assert printed.count("toIntervalSecond(2592000)") == 6
    assert printed.endswith(";\n")
    assert "ON CLUSTER" not in printed


def test_without_keep_nothing_goes_by_itself():
    assert "TTL" not in run("clickhouse-schema")


def test_cluster_has_replicated_tables_and_those_that_go_to_all():
    printed = run("clickhouse-schema", "--cluster", "main")

    assert "ReplicatedMergeTree('/clickhouse/tables/{shard}/default/otel_traces'" in printed
    assert "Distributed('main', 'default', 'otel_traces_local', cityHash64(TraceId))" in printed


@pytest.mark.thorough
def test_server_that_is_down_is_told_with_its_address():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}"

    with with_options(url=url, password="hunter2"):
        code, error = error_of("clickhouse-schema", "--apply")

    assert code == 4
    assert f"ClickHouse at {url}: " in error
    assert "hunter2" not in error
