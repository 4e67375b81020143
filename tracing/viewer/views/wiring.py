"""The map of what sends to whom: observed in the store, and connected in this process."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote_plus, urlencode

from django.db.models import Max

from tracing.analysis.mine import NONE_OF_MINE, MineView, hidden_text
from tracing.analysis.wiring import ANY, read_wiring
from tracing.presentation.charts import HEATS
from tracing.search.parser import quoted
from tracing.store.models import Dispatch, ReceiverLabel, Trace
from tracing.store.stored import all_rollups
from tracing.viewer.graph import (
    Flow,
    focused,
    lay_out,
    receiver_key,
    sender_app,
    sender_key,
    sender_text,
    signal_key,
)
from tracing.viewer.views.base import Page, read_since
from tracing.viewer.views.traces import list_address

if TYPE_CHECKING:
    from django.http import HttpRequest, HttpResponse, QueryDict

    from tracing.store.load import DispatchQuerySet, SentOn
    from tracing.store.statistics import RollupQuerySet, Statistics

MOST_FLOWS: Final = 600
"""Flows of the busiest that are drawn or listed."""
MOST_NODES: Final = 320
"""Nodes that can be read on one page; of more, the busiest are drawn."""
_SAMPLE: Final = 60
"""Newest traces that are read for what receivers send on."""
_LARGEST: Final = 400
_NEWEST: Final = 200_000
"""Ids of dispatches and calls in which nested ones are looked for."""
_NESTED: Final = (1_000, 20_000)
"""Nested dispatches in which that many traces are looked for: at first, and if those are too few."""


class Map(Page):
    """The graph sender → signal → receiver → what it sends, as a drawing and as a table."""

    template_name = "tracing/map.html"
    section = "map"
    has_switch = True

    def get(self, request: HttpRequest) -> HttpResponse:
        """Return the map, narrowed by ``?focus=``, ``?app=``, ``?q=`` and ``?since=``."""
        since, moment = read_since(request.GET.get("since", "7d"), "7d")
        with_connected = request.GET.get("connected", "yes") != "no"
        flows, is_cut = observed(moment)
        if with_connected:
            flows += never_run(flows)
        apps = {flow.app for flow in flows} | {sender_app(flow.sender) for flow in flows}
        in_view = self._narrowed(flows)
        shown = in_view if self.everything else [flow for flow in in_view if flow.mine]
        heading = hidden = ""
        if not self.everything and not any(flow.was_seen for flow in shown):
            shown, heading = in_view, NONE_OF_MINE if in_view else ""
        elif len(shown) < len(in_view):
            hidden = hidden_text(len(in_view) - len(shown), "connection", more=is_cut)
        if self.wants_json:
            return self.json({"flows": [_document(flow) for flow in shown]})
        drawn, left_out = _readable(shown)
        app, into = request.GET.get("app", ""), request.GET.get("into", "")
        focus = request.GET.get("focus", "")
        around = _Addresses(request.GET)
        graph = lay_out(drawn, focus)
        for node in graph.nodes:
            node.address = around[node.key]
        listed = list_address("")
        return self.page(
            {
                "flows": [
                    {
                        "flow": flow,
                        "sender": sender_text(flow),
                        "receiver_address": around[receiver_key(flow.receiver)],
                        "sender_address": around[sender_key(flow.sender)],
                        "signal_address": around[signal_key(flow.signal, flow.sender)],
                        "address": listed
                        + quote_plus(
                            f"signal={quoted(flow.signal)} sender={quoted(flow.sender)}"
                            f" receiver={quoted(flow.receiver)}"
                        ),
                    }
                    for flow in shown
                ],
                "graph": graph,
                "view": MineView(None, heading),
                "hidden": hidden,
                "left_out": left_out,
                "apps": sorted(apps - {""}),
                "app": app,
                "into": into,
                "coupling": coupling(shown),
                "text": request.GET.get("q", ""),
                "focus": focus,
                "focus_text": focus.partition(":")[2].replace(":", " from "),
                "since": since,
                "with_connected": with_connected,
                "crossing": sum(flow.crosses for flow in shown if flow.was_seen),
                "is_filtered": bool(focus or app or into or request.GET.get("q")),
                "ranges": (("1h", "last hour"), ("24h", "24 hours"), ("7d", "7 days"), ("", "all")),
            }
        )

    def _narrowed(self, flows: list[Flow]) -> list[Flow]:
        text = self.request.GET.get("q", "").strip().lower()
        app = self.request.GET.get("app", "")
        if text:
            flows = [
                flow
                for flow in flows
                if text in f"{flow.signal} {flow.sender} {flow.receiver}".lower()
            ]
        into = self.request.GET.get("into", "")
        if into:
            flows = [
                flow for flow in flows if flow.app == into and app in {"", sender_app(flow.sender)}
            ]
        elif app:
            flows = [flow for flow in flows if app in {flow.app, sender_app(flow.sender)}]
        focus = self.request.GET.get("focus", "")
        return focused(flows, focus) if focus else flows


class _Addresses(dict[str, str]):
    """The addresses of the map around each node, by its key: a page has each several times."""

    def __init__(self, parameters: QueryDict) -> None:
        super().__init__()
        others = {name: found for name, found in parameters.lists() if name != "focus"}
        self._before = "?" + "".join(f"{urlencode({n: v}, doseq=True)}&" for n, v in others.items())

    def __missing__(self, key: str) -> str:
        address = self[key] = f"{self._before}focus={quote_plus(key)}"
        return address


def observed(since_ns: int | None) -> tuple[list[Flow], bool]:
    """Return the flows that were recorded since a moment, the busiest first, and whether there are more.

    Of what is mine as many are returned as of all.
    """
    rollups = all_rollups().between(since_ns)

    def busiest(rollups: RollupQuerySet) -> list[Statistics]:
        return rollups.by_call(order_by="-count", limit=MOST_FLOWS, percentiles=False)

    rows = busiest(rollups)
    is_cut = len(rows) == MOST_FLOWS
    if is_cut:
        found = {(row.signal, row.sender, row.receiver_id) for row in rows}
        rows += [
            row
            for row in busiest(rollups.of_mine("call"))
            if (row.signal, row.sender, row.receiver_id) not in found
        ]
    labels = ReceiverLabel.objects.filter(pk__in={row.receiver_id for row in rows})
    facts = {key: (app, mine) for key, app, mine in labels.values_list("pk", "app", "mine")}
    flows: dict[tuple[str, str, str], Flow] = {}
    for row in rows:
        key = (row.signal, row.sender, row.receiver)
        app, mine = facts.get(row.receiver_id or 0, ("", False))
        # Two labels may have one name: connected with and without a dispatch_uid.
        flow = flows.setdefault(key, Flow(*key, app=app))
        flow.mine |= mine
        flow.count += row.count
        flow.error_count += row.error_count
        flow.total_ns += row.total_ns
    for nested, count in sent_on().items():
        sender = flows.get((nested.signal, nested.sender, nested.receiver))
        if sender is not None:
            sent = (nested.sent_signal, nested.sent_sender)
            sender.sends[sent] = sender.sends.get(sent, 0) + count
    _spread(list(flows.values()))
    return list(flows.values()), is_cut


def _spread(flows: list[Flow]) -> None:
    """Have those of *flows* be mine, too, that send what a receiver of mine hears, however far below."""
    heard = {(flow.signal, flow.sender) for flow in flows if flow.mine}
    others = [flow for flow in flows if not flow.mine and flow.sends]
    while found := [flow for flow in others if not heard.isdisjoint(flow.sends)]:
        for flow in found:
            flow.mine = True
            heard.add((flow.signal, flow.sender))
        others = [flow for flow in others if not flow.mine]


def sent_on() -> dict[SentOn, int]:
    """Return how often receivers sent what in the newest traces."""
    newest = Dispatch.objects.aggregate(last=Max("pk"))["last"] or 0
    # Bounded by ids: no index says which dispatches were sent from inside a receiver.
    nested = Dispatch.objects.filter(pk__gt=newest - _NEWEST, parent_number__isnull=False)
    newest_first = nested.order_by("-pk").values_list("trace_id", flat=True)
    keys: list[int] = []
    for most in _NESTED:
        keys = list(dict.fromkeys(newest_first[:most]))
        if len(keys) >= _SAMPLE:
            break
    small = Trace.objects.filter(pk__in=keys[:_SAMPLE], dispatch_count__lte=_LARGEST)
    dispatches: DispatchQuerySet = Dispatch.objects.get_queryset()  # type: ignore[assignment]
    return dispatches.sent_by_receivers(list(small.order_by().values_list("pk", flat=True)))


def never_run(flows: list[Flow]) -> list[Flow]:
    """Return the receivers connected in this process that none of *flows* has seen."""
    seen = {(flow.signal, flow.receiver) for flow in flows}
    found: dict[tuple[str, str, str], Flow] = {}
    for route in read_wiring(with_holders=False):
        for connection in route.connections:
            receiver = connection.receiver
            if not connection.alive or (route.signal, receiver.name) in seen:
                continue
            sender = ANY if receiver.any_sender else route.sender
            key = (route.signal, sender, receiver.name)
            found[key] = Flow(*key, app=receiver.app, mine=receiver.mine, was_seen=False)
    return sorted(found.values(), key=lambda flow: (flow.app, flow.signal, flow.receiver))


@dataclass(slots=True)
class Coupling:
    """What one application sends to the receivers of another."""

    sender_app: str
    app: str
    """Of the receivers."""
    count: int = 0
    error_count: int = 0
    receivers: set[str] = field(default_factory=set)
    heat: int = 0
    """0 for nothing, to ``HEATS``: how many calls, on a logarithmic scale."""

    @property
    def crosses(self) -> bool:
        """Return whether these are two applications."""
        return bool(self.sender_app and self.app and self.sender_app != self.app)


@dataclass(slots=True)
class CouplingTable:
    """Applications that send, across those that receive."""

    apps: list[str]
    """Of the receivers: the columns."""
    rows: list[tuple[str, list[Coupling]]]


def coupling(flows: list[Flow]) -> CouplingTable:
    """Return how often each application of a sender calls the receivers of each application."""
    found: dict[tuple[str, str], Coupling] = {}
    for flow in flows:
        if not flow.was_seen:
            continue
        key = (sender_app(flow.sender), flow.app)
        cell = found.setdefault(key, Coupling(*key))
        cell.count += flow.count
        cell.error_count += flow.error_count
        cell.receivers.add(flow.receiver)
    most = math.log1p(max((cell.count for cell in found.values()), default=0)) or 1
    for cell in found.values():
        cell.heat = max(1, math.ceil(math.log1p(cell.count) / most * HEATS)) if cell.count else 0
    senders, apps = ({key[side] for key in found} for side in (0, 1))
    # One order for both sides, so that what stays within an application lies on the diagonal.
    order = sorted(senders | apps, key=lambda app: (app == "", app not in senders & apps, app))
    columns = [app for app in order if app in apps]
    return CouplingTable(
        columns,
        [
            (sender, [found.get((sender, app), Coupling(sender, app)) for app in columns])
            for sender in order
            if sender in senders
        ],
    )


def _readable(flows: list[Flow]) -> tuple[list[Flow], int]:
    """Return as many of *flows* as can be read in a drawing, and how many are left out."""
    keys: set[tuple[str, ...]] = set()
    for place, flow in enumerate(flows):
        keys |= {
            ("s", flow.sender),
            ("d", flow.signal, flow.sender),
            ("r", flow.receiver),
            *(("t", *sent) for sent in flow.sends),
        }
        if len(keys) > MOST_NODES:
            return flows[:place], len(flows) - place
    return flows, 0


def _document(flow: Flow) -> dict[str, Any]:
    return {
        "signal": flow.signal,
        "sender": flow.sender,
        "receiver": flow.receiver,
        "app": flow.app,
        "count": flow.count,
        "error_count": flow.error_count,
        "total_ns": flow.total_ns,
        "crosses_apps": flow.crosses,
        "never_run": not flow.was_seen,
        "sends": [
            {"signal": signal, "sender": sender, "count": count}
            for (signal, sender), count in flow.sends.items()
        ],
    }
