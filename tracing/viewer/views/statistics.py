"""Statistics: what receivers, signals and senders cost, over hours and days."""

from __future__ import annotations

import time
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from django.db.models import Max, Sum
from django.utils import timezone

from tracing.analysis.histogram import GAMMA, HOUR_NS, Histogram
from tracing.analysis.mine import NONE_OF_MINE
from tracing.presentation import charts
from tracing.search.parser import quoted
from tracing.store.documents import statistics_document
from tracing.store.models import ReceiverLabel, SenderLabel, SignalLabel
from tracing.store.statistics import ShownRollups
from tracing.store.stored import all_rollups
from tracing.viewer.views.base import Page, read_since
from tracing.viewer.views.traces import list_address

if TYPE_CHECKING:
    from django.http import HttpRequest, HttpResponse

    from tracing.store.statistics import RollupQuerySet, Statistics

RANGES: Final = (
    ("1h", "last hour"),
    ("24h", "24 hours"),
    ("7d", "7 days"),
    ("30d", "30 days"),
    ("", "all"),
)
SUBJECTS: Final = {
    "receiver": "Receivers",
    "signal": "Signals",
    "sender": "Senders",
    "dispatch": "Signals by sender",
}
ORDERS: Final = ("count", "total_ns", "error_count", "query_count")
"""Columns that the database sorts by; percentiles are read for what is shown."""
LIMIT: Final = 50
TREND_HOURS: Final = 168
HEAT_HOURS: Final = 72
LEAST_HOURS: Final = 24
"""Hours that a trend and the heat map show at least."""
_LABELS: Final[dict[str, Any]] = {
    "receiver": ReceiverLabel,
    "signal": SignalLabel,
    "sender": SenderLabel,
}


class StatisticsPage(Page):
    """Calls, share of time, errors, percentiles and trend of each."""

    template_name = "tracing/statistics.html"
    section = "statistics"
    has_switch = True

    def get(self, request: HttpRequest) -> HttpResponse:
        """Return the statistics by ``?by=`` over ``?since=``, sorted by ``?order=``."""
        subject = request.GET.get("by", "receiver")
        subject = subject if subject in SUBJECTS else "receiver"
        order = request.GET.get("order", "-total_ns")
        if order.lstrip("-") not in ORDERS:
            order = "-total_ns"
        since, rollups = self.rollups()
        shown = ShownRollups.of(rollups, subject, everything=self.everything)
        ask = getattr(shown.rollups, f"by_{subject}")
        rows: list[Statistics] = ask(order_by=order, limit=LIMIT)
        if self.wants_json:
            return self.json(
                {"by": subject, "since": since, "statistics": statistics_document(rows)}
            )
        totals = self._totals(rollups, subject)
        trends = self._trends(rollups, subject, rows)
        whole = totals["total_ns"] or 1
        return self.page(
            {
                "subject": subject,
                "subjects": SUBJECTS,
                "ranges": RANGES,
                "since": since,
                "order": order,
                "view": shown,
                "hidden": shown.note,
                "shown": "everything" if self.everything or shown.heading else "mine",
                "totals": totals,
                "heat_hours": HEAT_HOURS,
                "columns": [
                    {
                        "name": name,
                        "title": title,
                        "next": name if order == f"-{name}" else f"-{name}",
                        "sorted": {f"-{name}": "descending", name: "ascending"}.get(order, "none"),
                    }
                    for name, title in (
                        ("count", "Calls" if subject == "receiver" else "Dispatches"),
                        ("total_ns", "Share of time"),
                        ("error_count", "Errors"),
                        ("query_count", "Queries"),
                    )
                ],
                "rows": [
                    {
                        "row": row,
                        "names": _names(subject, row),
                        "share": row.total_ns / whole,
                        "share_bar": charts.number(min(row.total_ns / whole, 1) * 100),
                        "per_call": f"{row.query_count / row.count:.1f}" if row.count else "0",
                        "trend": trends.get(_names(subject, row), ""),
                        "address": list_address(_query(subject, row)),
                    }
                    for row in rows
                ],
                "is_cut": len(rows) == LIMIT,
            }
        )

    def rollups(self) -> tuple[str, RollupQuerySet]:
        """Return the wanted range as given, and the hours in it."""
        since, moment = read_since(self.request.GET.get("since", "24h"), "24h")
        return since, all_rollups().between(moment)

    @staticmethod
    def _totals(rollups: RollupQuerySet, subject: str) -> dict[str, int]:
        """Return the sums over all; the time is that of the dispatches, in which all receivers ran."""
        dispatches = rollups.of_all()
        names = ("count", "error_count", "query_count")
        if subject == "receiver":
            found = rollups.filter(receiver__gt=0).order_by()
            sums = found.aggregate(**{f"{name}_sum": Sum(name) for name in names})
            totals = {name: sums[f"{name}_sum"] or 0 for name in names}
        else:
            totals = {name: getattr(dispatches, name) for name in names}
        return totals | {"total_ns": dispatches.total_ns}

    @staticmethod
    def _trends(
        rollups: RollupQuerySet, subject: str, rows: list[Statistics]
    ) -> dict[tuple[str, ...], str]:
        """Return the line of each row's calls by hour, by its names."""
        keys = ("signal", "sender") if subject == "dispatch" else (subject,)
        chosen = (
            rollups.filter(receiver__gt=0) if subject == "receiver" else rollups.filter(receiver=0)
        )
        ids: dict[str, dict[int, str]] = {}
        for key in keys:
            wanted = {getattr(row, key) for row in rows}
            labels = _LABELS[key].objects.filter(name__in=wanted).values_list("pk", "name")
            ids[key] = dict(labels)
            chosen = chosen.filter(**{f"{key}__in": list(ids[key])})
        counts: dict[tuple[str, ...], dict[int, int]] = {}
        hours: set[int] = set()
        # Of a very long time the newest part is drawn: a line has no room for more.
        newest = rollups.filter(receiver=0).order_by().aggregate(last=Max("hour"))["last"] or 0
        chosen = chosen.filter(hour__gt=newest - TREND_HOURS)
        for hour, *parts, count in (
            chosen.order_by().values_list("hour", *keys).annotate(calls=Sum("count"))
        ):
            names = tuple(ids[key][part] for key, part in zip(keys, parts, strict=True))
            by_hour = counts.setdefault(names, {})
            by_hour[hour] = by_hour.get(hour, 0) + count
            hours.add(hour)
        if not hours:
            return {}
        # Of a very long time the newest part is drawn: a line has no room for more.
        last = max(hours)
        first = min(max(min(hours), last - 167), last - LEAST_HOURS + 1)
        return {
            names: charts.line([by_hour.get(hour, 0) for hour in range(first, last + 1)])
            for names, by_hour in counts.items()
        }


def _names(subject: str, row: Statistics) -> tuple[str, ...]:
    if subject == "dispatch":
        return row.signal, row.sender
    return (getattr(row, subject),)


def _query(subject: str, row: Statistics) -> str:
    if subject == "dispatch":
        return f"signal={quoted(row.signal)} sender={quoted(row.sender)}"
    return f"{subject}={quoted(getattr(row, subject))}"


class HeatMapPage(StatisticsPage):
    """Latency over time: how many calls of each hour took how long."""

    template_name = "tracing/heat.html"

    def get(self, request: HttpRequest) -> HttpResponse:
        """Return the heat map: alone for htmx, as a page, or as JSON."""
        since, rollups = self.rollups()
        subject = request.GET.get("by", "receiver")
        subject = subject if subject in SUBJECTS else "dispatch"
        name = request.GET.get("name", "").replace("\0", "")
        newest = (time.time_ns() // HOUR_NS) - HEAT_HOURS
        rollups = rollups.filter(hour__gt=newest)
        chosen = (
            rollups.filter(receiver__gt=0) if subject == "receiver" else rollups.filter(receiver=0)
        )
        heading = ""
        if name and subject in _LABELS:
            labels = _LABELS[subject].objects.filter(name=name).values_list("pk", flat=True)
            chosen = chosen.filter(**{f"{subject}__in": list(labels)})
        elif not self.everything:
            mine = rollups.of_mine(subject)
            chosen, heading = (mine, "") if mine.exists() else (chosen, NONE_OF_MINE)
        texts: dict[int, list[str]] = {}
        for hour, text in chosen.order_by("hour").values_list("hour", "histogram"):
            texts.setdefault(hour, []).append(text)
        hours = [
            (hour, _hour_name(hour), Histogram.decode(*found)) for hour, found in texts.items()
        ]
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
