"""Statistics: costs of receivers, signals and senders, over time."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Final

from django.utils import timezone

from tracing.analysis.histogram import GAMMA, HOUR_NS
from tracing.presentation import charts
from tracing.presentation.documents import statistics_document
from tracing.search.parser import quoted
from tracing.store import statistics
from tracing.store.statistics import names_of
from tracing.viewer.views.base import RANGES, Page, read_since, sortable
from tracing.viewer.views.traces import list_address

if TYPE_CHECKING:
    from django.http import HttpRequest, HttpResponse

    from tracing.analysis.histogram import Statistics

SUBJECTS: Final = {
    "receiver": "Receivers",
    "signal": "Signals",
    "sender": "Senders",
    "dispatch": "Signals by sender",
}
ORDERS: Final = {
    "count": "Dispatches",
    "total_ns": "Share of time",
    "error_count": "Errors",
    "query_count": "Queries",
    "cpu_ns": "CPU",
}
"""Columns that the database sorts by; percentiles are read for what is shown."""
LIMIT: Final = 50
HOURS: Final = 72
"""Hours that a trend and the heat map show at most: of the days before, the store adds them up."""
LEAST_HOURS: Final = 24
"""Hours that a trend and the heat map show at least."""


class StatisticsPage(Page):
    """Calls, share of time, errors, percentiles and trend of each."""

    template_name = "tracing/statistics.html"
    section = "statistics"
    has_switch = True

    def get(self, request: HttpRequest) -> HttpResponse:
        """Return the statistics by ``?by=`` since ``?since=``."""
        subject = request.GET.get("by", "receiver")
        subject = subject if subject in SUBJECTS else "receiver"
        order = request.GET.get("order", "-total_ns")
        if order.lstrip("-") not in ORDERS:
            order = "-total_ns"
        since, since_ns = self.since()
        shown = statistics.by(
            subject, since_ns=since_ns, order_by=order, limit=LIMIT, everything=self.everything
        )
        rows = shown.rows
        if self.wants_json:
            found = [statistics_document(row) for row in rows]
            return self.json({"by": subject, "since": since, "statistics": found})
        totals = statistics.totals(subject, since_ns)
        trends = self._trends(subject, rows, since_ns)
        whole = totals["total_ns"] or 1
        return self.page(
            {
                "subject": subject,
                "subjects": SUBJECTS,
                "ranges": (*RANGES[:-1], ("30d", "30 days"), RANGES[-1]),
                "since": since,
                "order": order,
                "view": shown,
                "hidden": shown.note,
                "shown": "everything" if self.everything or shown.heading else "mine",
                "totals": totals,
                "heat_hours": HOURS,
                "columns": sortable(_columns(rows, subject, order), order).values(),
                "has_cpu": "cpu_ns" in _columns(rows, subject, order),
                "rows": [
                    {
                        "row": row,
                        "names": names_of(subject, row),
                        "share": row.total_ns / whole,
                        "share_bar": charts.number(min(row.total_ns / whole, 1) * 100),
                        "per_call": f"{row.query_count / row.count:.1f}" if row.count else "0",
                        "trend": trends.get(names_of(subject, row), ""),
                        "address": list_address(_query(subject, row)),
                    }
                    for row in rows
                ],
                "is_cut": len(rows) == LIMIT,
            }
        )

    def since(self) -> tuple[str, int | None]:
        """Return the wanted range as given, and its first moment."""
        return read_since(self.request.GET.get("since", "24h"), "24h")

    @staticmethod
    def _trends(
        subject: str, rows: list[Statistics], since_ns: int | None
    ) -> dict[tuple[str, ...], str]:
        """Return the line of each row's calls by hour, by its names."""
        counts = statistics.counts_by_hour(subject, rows, HOURS, since_ns)
        hours = {hour for by_hour in counts.values() for hour in by_hour}
        if not hours:
            return {}
        last = max(hours)
        first = min(max(min(hours), last - HOURS + 1), last - LEAST_HOURS + 1)
        return {
            names: charts.line([by_hour.get(hour, 0) for hour in range(first, last + 1)])
            for names, by_hour in counts.items()
        }


def _columns(rows: list[Statistics], subject: str, order: str) -> dict[str, str]:
    """Return the columns to sort by, with CPU where it was read."""
    has_cpu = order.endswith("cpu_ns") or any(row.cpu_ns is not None for row in rows)
    columns = ORDERS | ({"count": "Calls"} if subject == "receiver" else {})
    return {name: title for name, title in columns.items() if name != "cpu_ns" or has_cpu}


def _query(subject: str, row: Statistics) -> str:
    if subject == "dispatch":
        return f"signal={quoted(row.signal)} sender={quoted(row.sender)}"
    return f"{subject}={quoted(getattr(row, subject))}"


class HeatMapPage(StatisticsPage):
    """Latency over time: how many calls of each hour took how long."""

    template_name = "tracing/heat.html"

    def get(self, request: HttpRequest) -> HttpResponse:
        """Return the heat map: alone for htmx, as a page, or as JSON."""
        since, since_ns = self.since()
        subject = request.GET.get("by", "receiver")
        subject = subject if subject in SUBJECTS else "dispatch"
        name = request.GET.get("name", "").replace("\0", "")
        found, heading = statistics.durations_by_hour(
            subject, HOURS, name=name, since_ns=since_ns, everything=self.everything
        )
        hours = [(hour, _hour_name(hour), histogram) for hour, histogram in found]
        if self.wants_json:
            return self.json(
                {
                    "hours": [
                        {"hour": hour, "start_ns": hour * HOUR_NS, "count": histogram.count,
                         "p50_ns": histogram.quantile(0.5), "p95_ns": histogram.quantile(0.95),
                         "p99_ns": histogram.quantile(0.99)}
                        for hour, _, histogram in hours
                    ]
                }
            )  # fmt: skip
        heat = charts.heat_map(hours, GAMMA, 1 if since == "1h" else LEAST_HOURS)
        context = {
            "heat": heat,
            "first_ns": heat.first_hour * HOUR_NS,
            "last_ns": (hours[-1][0] + 1) * HOUR_NS if hours else 0,
            "since": since,
            "subject": subject,
            "name": name,
            "heading": heading if hours else "",
            "heats": range(1, charts.HEATS + 1),
        }
        return self.page(context, "tracing/includes/heat.html" if self.wants_part else "")


def _hour_name(hour: int) -> str:
    start = datetime.fromtimestamp(hour * 3_600, tz=timezone.get_current_timezone())
    return f"{start:%d %b %H:%M}"
