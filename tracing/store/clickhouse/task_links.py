"""Tasks across traces: what enqueued each, and what ran it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tracing.store.clickhouse.asking import Binder, rows, table
from tracing.store.clickhouse.traces import COLUMNS, ListRow, summaries
from tracing.store.task_links import MOST_LINKS, LinkedTrace, TaskLinks, links_of

if TYPE_CHECKING:
    from tracing.spans import records


class _Row(ListRow, array_like=True, gc=False):
    task: str = ""
    attempt: int = 0
    enqueued: list[str] = []


def task_links(trace: records.Trace) -> TaskLinks:
    """Return the tasks that *trace* enqueued, and what enqueued it."""
    return links_of(trace, _linked)


def _linked(task_ids: list[str], ran: bool) -> dict[str, list[LinkedTrace | None]]:  # noqa: FBT001 - a Linking.
    found: dict[str, list[LinkedTrace | None]] = {}
    if not task_ids:
        return found
    bind = Binder()
    ids = bind(task_ids)
    fits = f"Task IN {ids}" if ran else f"hasAny(Enqueued, {ids})"
    sql = (
        f"SELECT {COLUMNS}, Task, Attempt, Enqueued FROM {table('_django')} WHERE {fits} "  # noqa: S608 - values are bound.
        f"ORDER BY Timestamp LIMIT {MOST_LINKS}"
    )
    linked = rows(_Row, sql, bind)
    by_root = {each.root_span_id: each for each in summaries(linked)}
    for row in {row.root: row for row in linked}.values():
        for task_id in [row.task] if ran else row.enqueued:
            attempt = (row.attempt or 1) if row.task == task_id else 0
            found.setdefault(task_id, []).append(LinkedTrace(by_root[row.root], attempt))
    return found
