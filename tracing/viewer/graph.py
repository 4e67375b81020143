"""The map: senders, signals, receivers and what these send, in columns."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from django.apps import apps

from tracing.analysis.names import short_receiver, short_signal, shorten_middle
from tracing.analysis.wiring import ANY
from tracing.presentation.charts import number
from tracing.presentation.colours import colours_of
from tracing.units import format_count, format_ns

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable

WIDTH: Final = 1_160
"""Units of width of the drawing."""
ROW: Final = 24
"""Height of a node with the gap below it."""
NODE: Final = 20
"""Its height."""
HEADER: Final = 20
"""Room for the name of an application above its nodes."""
GAP: Final = 12
"""Between two groups."""
TOP: Final = 24
"""Room for the titles of the columns."""
COLUMNS: Final = ("senders", "signals", "receivers", "sends")
_LEFT: Final = {"senders": 0, "signals": 272, "receivers": 544, "sends": 886}
_NODE_WIDTH: Final = {"senders": 215, "signals": 215, "receivers": 285, "sends": 255}
_LETTERS: Final = {"senders": 28, "signals": 28, "receivers": 38, "sends": 34}
_TITLES: Final = {
    "senders": "Senders",
    "signals": "Signals they send",
    "receivers": "Receivers",
    "sends": "What receivers send on",
}
_SWEEPS: Final = 4


@dataclass(slots=True)
class Flow:
    """A receiver of a signal from a sender, and how often it was called."""

    signal: str
    sender: str
    receiver: str
    count: int = 0
    error_count: int = 0
    total_ns: int = 0
    app: str = ""
    """Of the receiver."""
    mine: bool = False
    """The receiver is, or one of what it sends."""
    was_seen: bool = True
    """False for a receiver that is connected and was never called."""
    sends: dict[tuple[str, str], int] = field(default_factory=dict)
    """How often it sent a signal from a sender, in the traces that were looked at."""

    @property
    def crosses(self) -> bool:
        """Return whether sender and receiver are of two applications."""
        app = sender_app(self.sender)
        return bool(app and self.app and app != self.app)


def sender_text(flow: Flow) -> str:
    """Return the sender for people.

    A receiver for any sender that never ran has no name for it.
    """
    return "any sender" if flow.sender == ANY and not flow.was_seen else flow.sender


def sender_app(sender: str) -> str:
    """Return the label of a sender's application: a model's, or a path's."""
    first, dot, rest = sender.partition(".")
    if "." not in rest:
        return first if dot else ""
    config = apps.get_containing_app_config(sender)
    return config.label if config is not None else first


@dataclass(slots=True)
class Box:
    """A box of the map."""

    key: str
    """As it stands in an address: the column's letter, a colon and the names."""
    column: str
    app: str
    text: str
    title: str
    order: float = 0.0
    x: int = 0
    y: int = 0
    width: int = 0
    count: int = 0
    error_count: int = 0
    was_seen: bool = True
    colour: int = 0
    is_focus: bool = False
    address: str = ""
    """Of the map around it."""
    note: str = ""
    """What its title is followed by on hover."""

    @property
    def hint(self) -> str:
        """Return what hovering over it says."""
        return f"{self.title}{self.note}{'' if self.was_seen else ': never run'}"

    @property
    def shown_text(self) -> str:
        """Return its text as far as the count beside it leaves room."""
        room = _LETTERS[self.column]
        if self.count:
            room -= len(format_count(self.count)) + 1 + 2 * bool(self.error_count)
        return shorten_middle(self.text, room)


@dataclass(slots=True)
class Edge:
    """A line of the map."""

    source: Box
    target: Box
    count: int
    error_count: int
    crosses: bool
    was_seen: bool = False
    path: str = ""
    width: str = "1"

    @property
    def title(self) -> str:
        """Return its ends and its count."""
        return f"{self.source.title} → {self.target.title}: {format_count(self.count)}"

    @property
    def classes(self) -> str:
        """Return what the style sheet tells it from others by."""
        marks = (
            ("crosses", self.crosses),
            ("never", not self.was_seen),
            ("is-bad", bool(self.error_count)),
        )
        return " ".join(["edge", *(mark for mark, holds in marks if holds)])


@dataclass(slots=True)
class Group:
    """The nodes of one application in one column."""

    app: str
    column: str
    x: int
    y: int
    width: int
    height: int
    colour: int


@dataclass(slots=True)
class Graph:
    """The map, laid out."""

    nodes: list[Box]
    edges: list[Edge]
    groups: list[Group]
    height: int
    width: int = WIDTH
    titles: list[tuple[str, int]] = field(default_factory=list)
    """(title, x) of the columns."""


def sender_key(sender: str) -> str:
    """Return the key of a sender's node."""
    return f"s:{sender}"


def signal_key(signal: str, sender: str) -> str:
    """Return the key of the node of a signal from a sender."""
    return f"d:{signal}:{sender}"


def receiver_key(receiver: str) -> str:
    """Return the key of a receiver's node."""
    return f"r:{receiver}"


def named_by(key: str) -> dict[str, str]:
    """Return the names in the *key* of a node."""
    kind, _, rest = key.partition(":")
    if kind == "d":
        signal, _, sender = rest.partition(":")
        return {"signal": signal, "sender": sender}
    return {"receiver" if kind == "r" else "sender": rest} if rest else {}


def own_keys(flow: Flow) -> set[str]:
    """Return the keys of sender, signal and receiver of *flow*."""
    signal = signal_key(flow.signal, flow.sender)
    return {sender_key(flow.sender), signal, receiver_key(flow.receiver)}


def keys_of(flow: Flow) -> set[str]:
    """Return the keys of the nodes that *flow* touches."""
    return own_keys(flow).union(signal_key(*sent) for sent in flow.sends)


def focused(flows: Iterable[Flow], focus: str) -> list[Flow]:
    """Return the flows through the node *focus*, with all around them."""
    every = list(flows)
    by_dispatch: dict[str, list[Flow]] = defaultdict(list)
    senders_of: dict[str, list[Flow]] = defaultdict(list)
    for flow in every:
        by_dispatch[signal_key(flow.signal, flow.sender)].append(flow)
        for sent in flow.sends:
            senders_of[signal_key(*sent)].append(flow)
    chosen: dict[int, Flow] = {id(flow): flow for flow in every if focus in own_keys(flow)}

    def spread(waiting: list[Flow], beside: Callable[[Flow], Iterable[Flow]]) -> None:
        while waiting:
            for flow in beside(waiting.pop()):
                if id(flow) not in chosen:
                    chosen[id(flow)] = flow
                    waiting.append(flow)

    spread(
        list(chosen.values()),
        lambda flow: [below for sent in flow.sends for below in by_dispatch[signal_key(*sent)]],
    )
    spread(
        [flow for flow in chosen.values() if focus in keys_of(flow)],
        lambda flow: senders_of[signal_key(flow.signal, flow.sender)],
    )
    return [flow for flow in every if id(flow) in chosen]


class _Drawing:
    """The nodes and edges of a map, each once.

    Args:
        focus: Key of the node in the middle of attention; empty for none.
    """

    def __init__(self, focus: str) -> None:
        self.focus = focus
        self.nodes: dict[tuple[str, str], Box] = {}
        self.edges: dict[tuple[str, str, str], Edge] = {}

    def node(self, column: str, key: str, app: str, text: str, title: str) -> Box:
        """Return the node *key* of *column*, made if it is not there."""
        found = self.nodes.get((column, key))
        if found is None:
            found = Box(key, column, app, text, title, was_seen=False, is_focus=key == self.focus)
            self.nodes[column, key] = found
        return found

    def edge(
        self, source: Box, target: Box, flow: Flow, count: int, errors: int, *, crosses: bool
    ) -> None:
        """Add *count* dispatches or calls of *flow* to the edge between two nodes."""
        key = (source.column, source.key, target.key)
        found = self.edges.get(key)
        if found is None:
            found = self.edges[key] = Edge(source, target, 0, 0, crosses)
        found.count += count
        found.error_count += errors
        found.was_seen = found.was_seen or flow.was_seen

    def add(self, flow: Flow) -> None:
        """Add a sender, its dispatch, the receiver and what that sent."""
        app, text, signal = sender_app(flow.sender), sender_text(flow), short_signal(flow.signal)
        sender = self.node("senders", sender_key(flow.sender), app, text, text)
        key = signal_key(flow.signal, flow.sender)
        dispatch = self.node("signals", key, app, signal, f"{flow.signal} from {text}")
        key, short = receiver_key(flow.receiver), short_receiver(flow.receiver)
        receiver = self.node("receivers", key, flow.app, short, flow.receiver)
        for one in (sender, dispatch, receiver):
            one.was_seen = one.was_seen or flow.was_seen
        receiver.count += flow.count
        receiver.error_count += flow.error_count
        dispatch.count = max(dispatch.count, flow.count)
        dispatch.error_count += flow.error_count
        self.edge(sender, dispatch, flow, flow.count, 0, crosses=False)
        self.edge(dispatch, receiver, flow, flow.count, flow.error_count, crosses=flow.crosses)
        self._add_sends(flow, receiver)
        if flow.total_ns and not receiver.note:
            receiver.note = f", {format_ns(flow.total_ns)} in all for {signal}"

    def _add_sends(self, flow: Flow, receiver: Box) -> None:
        for (signal, sent_by), count in flow.sends.items():
            app, key = sender_app(sent_by), signal_key(signal, sent_by)
            text = f"{short_signal(signal)} {sent_by}"
            target = self.node("sends", key, app, text, f"{signal} from {sent_by}")
            target.was_seen = True
            target.count += count
            crosses = bool(app and flow.app and app != flow.app)
            self.edge(receiver, target, flow, count, 0, crosses=crosses)


def lay_out(flows: Collection[Flow], focus: str = "") -> Graph:
    """Return *flows* laid out in columns, by application."""
    drawing = _Drawing(focus)
    for flow in flows:
        drawing.add(flow)
    nodes, edges = drawing.nodes, drawing.edges
    colours = colours_of(one.app for one in nodes.values())
    for one in nodes.values():
        one.colour = colours[one.app]
    ordered = _order(list(nodes.values()), list(edges.values()))
    groups, height = _place(ordered)
    found_edges = list(edges.values())
    most = max((line.count for line in found_edges), default=0) or 1
    for line in found_edges:
        line.path = _curve(line)
        line.width = number(1 + 4 * (line.count / most) ** 0.5) if line.count else "1"
    titles = [
        (title, _LEFT[column] + 6)
        for column, title in _TITLES.items()
        if any(one.column == column for one in ordered)
    ]
    return Graph(ordered, found_edges, groups, height, titles=titles)


def _order(nodes: list[Box], edges: list[Edge]) -> list[Box]:
    """Return *nodes* by column and application, near what they are tied to."""
    ties: dict[int, list[Box]] = defaultdict(list)
    for edge in edges:
        ties[id(edge.source)].append(edge.target)
        ties[id(edge.target)].append(edge.source)
    columns = {
        name: sorted(
            (node for node in nodes if node.column == name),
            key=lambda node: (node.app, node.text, node.key),
        )
        for name in COLUMNS
    }
    for members in columns.values():
        for place, node in enumerate(members):
            node.order = place / max(1, len(members))
    for _ in range(_SWEEPS):
        for name in COLUMNS:
            members = columns[name]
            wish = {
                id(node): (
                    sum(other.order for other in ties[id(node)]) / len(ties[id(node)])
                    if ties[id(node)]
                    else node.order
                )
                for node in members
            }
            of_app: dict[str, list[float]] = defaultdict(list)
            for node in members:
                of_app[node.app].append(wish[id(node)])
            seen = {node.app for node in members if node.was_seen}
            # What never ran stands below what did: one looks for the living first.
            middle = {
                app: sum(wishes) / len(wishes) + (0 if app in seen else 10)
                for app, wishes in of_app.items()
            }
            members.sort(key=lambda node: (middle[node.app], node.app, wish[id(node)], node.key))
            for place, node in enumerate(members):
                node.order = place / max(1, len(members))
    return [node for name in COLUMNS for node in columns[name]]


def _place(nodes: list[Box]) -> tuple[list[Group], int]:
    """Give each node its place; return the groups and the whole height."""
    groups: list[Group] = []
    height = 0
    for column in COLUMNS:
        y = TOP
        group: Group | None = None
        for node in nodes:
            if node.column != column:
                continue
            if group is None or group.app != node.app:
                if group is not None:
                    y += GAP
                width = _NODE_WIDTH[column] + 12
                group = Group(node.app, column, _LEFT[column], y, width, HEADER, node.colour)
                groups.append(group)
                y += HEADER
            node.x, node.y, node.width = _LEFT[column] + 6, y, _NODE_WIDTH[column]
            y += ROW
            group.height = y - group.y
        height = max(height, y)
    return groups, height + 4


def _curve(edge: Edge) -> str:
    x1, y1 = edge.source.x + edge.source.width, edge.source.y + NODE // 2
    x2, y2 = edge.target.x, edge.target.y + NODE // 2
    bend = (x2 - x1) // 2
    return f"M{x1} {y1}C{x1 + bend} {y1} {x2 - bend} {y2} {x2} {y2}"
