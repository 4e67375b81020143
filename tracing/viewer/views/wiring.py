"""The map: flows observed in the store, and connected in this process."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote_plus, urlencode

from tracing.analysis.mine import NONE_OF_MINE, MineView, hidden_text
from tracing.analysis.wiring import ANY, known_signals, read_wiring
from tracing.presentation.charts import HEATS
from tracing.presentation.documents import fields_of
from tracing.search.parser import quoted
from tracing.store.nesting import sent_on
from tracing.store.statistics import busiest_calls
from tracing.viewer.drawing import drawn
from tracing.viewer.graph import (
    Flow,
    focused,
    lay_out,
    named_by,
    receiver_key,
    sender_app,
    sender_key,
    sender_text,
    signal_key,
)
from tracing.viewer.views.base import RANGES, Page, read_since
from tracing.viewer.views.traces import list_address

if TYPE_CHECKING:
    from django.http import HttpRequest, HttpResponse, QueryDict


MOST_FLOWS: Final = 600
"""Flows of the busiest that are drawn or listed."""
MOST_NODES: Final = 320
"""Nodes that can be read on one page; of more, the busiest are drawn."""
MOST_ROWS: Final = 50
"""Rows of the table below the map, unless all are asked for."""


class Map(Page):
    """The graph sender → signal → receiver, as a drawing and a table."""

    template_name = "tracing/map.html"
    section = "map"
    has_switch = True

    def get(self, request: HttpRequest) -> HttpResponse:
        """Return the map, narrowed by the parameters of the address."""
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
        readable, left_out = _readable(shown)
        app, into = request.GET.get("app", ""), request.GET.get("into", "")
        focus = request.GET.get("focus", "")
        around, graph = _Addresses(request.GET), lay_out(readable, focus)
        for node in graph.nodes:
            node.address = around[node.key]
        rows = shown if request.GET.get("rows") == "all" else shown[:MOST_ROWS]
        return self.page(
            {
                "flows": _table(rows, around),
                "all_flows": len(shown),
                "graph": graph,
                "drawn": drawn(graph),
                "view": MineView(None, heading),
                "hidden": hidden,
                "left_out": left_out,
                "apps": sorted(apps - {""}),
                "app": app,
                "into": into,
                "coupling": coupling(shown),
                "text": request.GET.get("q", ""),
                "focus": focus,
                "about": named_by(focus),
                "focus_text": focus.partition(":")[2].replace(":", " from "),
                "since": since,
                "with_connected": with_connected,
                "crossing": sum(flow.crosses for flow in shown if flow.was_seen),
                "is_filtered": bool(focus or app or into or request.GET.get("q")),
                "ranges": RANGES,
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
    """The addresses of the map around nodes, by key, each made once."""

    def __init__(self, parameters: QueryDict) -> None:
        super().__init__()
        others = {name: found for name, found in parameters.lists() if name != "focus"}
        self._before = "?" + "".join(f"{urlencode({n: v}, doseq=True)}&" for n, v in others.items())

    def __missing__(self, key: str) -> str:
        address = self[key] = f"{self._before}focus={quote_plus(key)}"
        return address


def _table(flows: list[Flow], around: _Addresses) -> list[dict[str, Any]]:
    """Return the rows of the table that says the same as the drawing."""
    listed = list_address("")
    return [
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
        for flow in flows
    ]


def observed(since_ns: int | None) -> tuple[list[Flow], bool]:
    """Return the flows since *since_ns*, busiest first, and if any are cut.

    Of what is mine as many are returned as of all.
    """
    rows, is_cut = busiest_calls(MOST_FLOWS, since_ns)
    flows: dict[tuple[str, str, str], Flow] = {}
    for row in rows:
        key = (row.signal, row.sender, row.receiver)
        # Two labels may have one name: connected with and without a dispatch_uid.
        flow = flows.setdefault(key, Flow(*key, app=row.app))
        flow.mine |= row.mine
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
    """Mark as mine what leads to a receiver of mine, however far above."""
    heard = {(flow.signal, flow.sender) for flow in flows if flow.mine}
    others = [flow for flow in flows if not flow.mine and flow.sends]
    while found := [flow for flow in others if not heard.isdisjoint(flow.sends)]:
        for flow in found:
            flow.mine = True
            heard.add((flow.signal, flow.sender))
        others = [flow for flow in others if not flow.mine]


def never_run(flows: list[Flow]) -> list[Flow]:
    """Return the receivers connected here that *flows* have not seen."""
    seen = {(flow.signal, flow.receiver) for flow in flows}
    found: dict[tuple[str, str, str], Flow] = {}
    for route in read_wiring(known_signals(), with_holders=False):
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
    """The calls from one application to the receivers of another."""

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
    """Return how often applications call receivers of one another."""
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
    """Return the *flows* that fit a drawing, and the number left out."""
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
        **fields_of(flow, "signal", "sender", "receiver", "app"),
        **fields_of(flow, "count", "error_count", "total_ns"),
        "crosses_apps": flow.crosses,
        "never_run": not flow.was_seen,
        "sends": [
            {"signal": signal, "sender": sender, "count": count}
            for (signal, sender), count in flow.sends.items()
        ],
    }
