"""The verb ``clickhouse-schema``: the tables of ClickHouse."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tracing.conf import get_settings
from tracing.exporters.clickhouse.schema import Schema
from tracing.management.verbs.base import NO_STORE, WRONG, Run, Verb, fail
from tracing.pipeline import TemporaryError
from tracing.spans.escapes import escape_control
from tracing.store.clickhouse.connection import Address
from tracing.units import plural

if TYPE_CHECKING:
    from argparse import ArgumentParser


def _arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--cluster", metavar="NAME", default="", help="the tables of a cluster")
    parser.add_argument("--apply", action="store_true", help="run them instead of printing them")


def _schema(run: Run) -> int:
    chosen = get_settings().clickhouse
    schema = Schema(chosen.database, chosen.table, run.options["cluster"], chosen.keep)
    statements = schema.statements()
    if not run.options["apply"]:
        run.terminal.raw(";\n\n".join(statements) + ";\n")
        return 0
    address = Address(
        chosen.url, chosen.user, chosen.password, chosen.database, chosen.table, chosen.timeout
    )
    try:
        address.run(statements)
    except ImportError as error:
        raise fail(str(error), WRONG) from None
    except (TemporaryError, ValueError) as error:
        raise fail(escape_control(f"{error}."), NO_STORE) from None
    run.terminal.say(f"{plural(len(statements), 'statement')} run at {chosen.url}.")
    return 0


VERBS = (
    Verb(
        "clickhouse-schema",
        "print or make the tables of ClickHouse",
        _arguments,
        _schema,
        "Statements that make what is not there and leave the rest: the table of the OpenTelemetry "
        "collector, its index of traces, lists of traces and calls, statistics by hour. What CLICKHOUSE "
        "says of the database, the table and how long it keeps what is in it holds.",
    ),
)
