"""Traces go with all that belongs to them."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from tracing.store.backends import KEYS_AT_ONCE, marks
from tracing.store.ranges import chunks, merge_ranges

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tracing.store.backends import Database


def delete_traces(database: Database, keys: Sequence[int]) -> Counter[str]:
    """Delete the traces *keys* with all that is theirs; return rows by table.

    Children go first: when it is cut short, what is left is found by the next attempt.
    """
    deleted: Counter[str] = Counter()
    dispatches = database.rows(
        "SELECT id, receiver_call_count FROM tracing_dispatch "
        f"WHERE trace_id IN {marks(keys)} ORDER BY id",
        keys,
    )
    for chunk in chunks(merge_ranges(dispatches), 100):
        ranges = " OR ".join(["id BETWEEN %s AND %s"] * len(chunk))
        for table in ("tracing_receivercall", "tracing_failedcall", "tracing_dispatch"):
            deleted[table] += database.execute(
                f"DELETE FROM {table} WHERE {ranges}", [key for pair in chunk for key in pair]
            ).rowcount
    for table, column in (
        ("tracing_orphan", "trace_id"),
        ("tracing_bypass", "trace_id"),
        ("tracing_hazardoccurrence", "trace_id"),
        ("tracing_trace", "id"),
    ):
        deleted[table] += database.execute(
            f"DELETE FROM {table} WHERE {column} IN {marks(keys)}", keys
        ).rowcount
    _unlink_tasks(database, keys)
    return deleted


def _unlink_tasks(database: Database, keys: Sequence[int]) -> None:
    """Keep of the tasks of *keys* that they were there, for the rest of each."""
    found = database.rows(
        f"SELECT DISTINCT task_id FROM tracing_tasklink WHERE trace_id IN {marks(keys)}", keys
    )
    if not found:
        return
    database.execute(
        f"UPDATE tracing_tasklink SET trace_id = NULL WHERE trace_id IN {marks(keys)}", keys
    )
    for tasks in chunks([task for (task,) in found], KEYS_AT_ONCE):
        stored = database.rows(
            "SELECT DISTINCT task_id FROM tracing_tasklink "
            f"WHERE task_id IN {marks(tasks)} AND trace_id IS NOT NULL",
            tasks,
        )
        gone = sorted({*tasks}.difference(task for (task,) in stored))
        if gone:
            # Not what another process has stored meanwhile.
            database.execute(
                f"DELETE FROM tracing_tasklink WHERE task_id IN {marks(gone)} AND trace_id IS NULL",
                gone,
            )
