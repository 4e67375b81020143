"""Dispatches that receivers sent on the newest two days."""

from __future__ import annotations

from tracing.store.clickhouse.asking import rows, table
from tracing.store.nesting import SentOn


def sent_on() -> dict[SentOn, int]:
    """Return how often receivers sent what on the newest two days."""
    newest = f"SELECT max(Day) FROM {table('_sent_on')}"  # noqa: S608 - a name.
    sql = (
        "SELECT ReceiverSignal, ReceiverSender, Receiver, Signal, Sender, sum(Dispatches) "  # noqa: S608 - as above.
        f"FROM {table('_sent_on')} WHERE Day >= ({newest}) - 1 "
        "GROUP BY Receiver, ReceiverSignal, ReceiverSender, Signal, Sender"
    )
    return {
        SentOn(*names): count for *names, count in rows(tuple[str, str, str, str, str, int], sql)
    }
