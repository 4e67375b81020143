"""Wiring: receivers by signal and sender, in calling order.

Read from the registries of this process without calling anything: ``Signal.receivers`` holds
3-tuples on Django 5.2 and 4-tuples from 6.0 on, so entries are indexed, never unpacked. What comes
out are strings and flags; they can be written to a file and compared with what is connected later.
"""

from __future__ import annotations

import functools
import gc
import inspect
import weakref
from dataclasses import dataclass, field, replace
from difflib import SequenceMatcher
from types import FunctionType, MethodType
from typing import TYPE_CHECKING, Any, Final

from django.dispatch import Signal, dispatcher
from msgspec import structs

from tracing.analysis.names import place
from tracing.analysis.senders import Senders
from tracing.instrumentation.attributes import names, signal_names
from tracing.instrumentation.attributes.equality import is_same_function
from tracing.instrumentation.attributes.signal_names import signal_name
from tracing.instrumentation.connections.neighbours import own_sends
from tracing.instrumentation.connections.registry import (
    entries_of,
    living_signals,
    remembered_signals,
)
from tracing.spans.records import ReceiverLabel

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

FILE_VERSION: Final = 1
"""Version of the file that ``--write`` makes."""

ANY: Final = "None"
"""Sender of a receiver that hears every sender, as in the rest of the tracer."""
DEAD: Final = "(dead)"


@dataclass(frozen=True, slots=True)
class WiredReceiver:
    """One receiver as it is connected."""

    receiver: ReceiverLabel
    alive: bool = True
    """False if it was connected weakly and has died."""
    was_method: bool = False
    """It has died, and was a method: perhaps with an object whose life was over."""
    kept_by_debug: bool = False
    """Nothing holds it but Django's cache of signatures, which fills with DEBUG on only."""
    unawaited: bool = False
    """Calling it gives a coroutine, and Django takes it for a sync receiver."""
    duplicate_of: int | None = None
    """Position of an earlier receiver of the same route that is the same function."""


@dataclass(slots=True)
class Route:
    """The receivers of one signal from one sender, in calling order."""

    signal: str
    sender: str
    """``None``: the receivers that any other sender reaches."""
    connections: list[WiredReceiver] = field(default_factory=list)
    own_send: str = ""
    """The class of the signal if it calls receivers itself, so that dispatches are not recorded."""


# --- reading -------------------------------------------------------------------------------------


def all_signals() -> list[Signal]:
    """Return every signal of this process that can be connected to.

    Those of loaded modules, and those that no module names from their first connection on.
    """
    return sorted(living_signals(), key=signal_name)


def known_signals(*, anew: bool = True) -> list[Signal]:
    """Return the same without a search, but for what modules hold newly.

    Args:
        anew: False leaves out what they hold newly, unless it was connected to.
    """
    known = (*signal_names.known_signals(anew=anew), *remembered_signals())
    return sorted({id(signal): signal for signal in known}.values(), key=signal_name)


def read_wiring(
    signals: Iterable[Signal] | None = None, *, with_holders: bool = True
) -> list[Route]:
    """Return the routes of *signals*, or all, by signal and sender.

    A route of a sender contains the receivers for any sender too, where they stand in the order.

    Args:
        signals: Whose routes.
        with_holders: Find out which receivers only DEBUG keeps alive. That asks the collector for
            the referrers of each local one, which looks through every object there is.
    """
    senders = Senders()
    routes = []
    for signal in signals if signals is not None else all_signals():
        entries = entries_of(signal)
        if entries:
            routes += _routes_of(signal, entries, senders, with_holders=with_holders)
    return routes


def _routes_of(
    signal: Signal, entries: list[Any], senders: Senders, *, with_holders: bool
) -> list[Route]:
    keys = dict.fromkeys(entry[0][1] for entry in entries)
    name = signal_name(signal)
    made = {id(entry): _connection(entry, with_holders=with_holders) for entry in entries}
    routes = []
    own_send = names.dotted(type(signal)) if own_sends(type(signal)) else ""
    for key in keys:
        heard = [entry for entry in entries if entry[0][1] in {key, dispatcher.NONE_ID}]
        # Django calls the sync receivers first, each kind in the order in which it was connected.
        heard.sort(key=lambda entry: bool(entry[-1]))
        sender = ANY if key == dispatcher.NONE_ID else senders.name(key, heard)
        connections = _with_twins([(entry, made[id(entry)]) for entry in heard])
        routes.append(Route(name, sender, connections, own_send))
    routes.sort(key=lambda route: (route.sender != ANY, route.sender))
    return routes


def _connection(entry: Any, *, with_holders: bool) -> WiredReceiver:
    lookup_key, reference = entry[0], entry[1]
    weak = isinstance(reference, weakref.ReferenceType)
    receiver = reference() if weak else reference
    options: dict[str, Any] = {"weak": weak, "is_async": bool(entry[-1])}
    any_sender = lookup_key[1] == dispatcher.NONE_ID
    if receiver is None:
        text = lookup_key[0] if type(lookup_key[0]) is str else ""
        dead = ReceiverLabel(DEAD, dispatch_uid=text, any_sender=any_sender, **options)
        method = isinstance(reference, weakref.WeakMethod)
        return WiredReceiver(dead, alive=False, was_method=method)
    uid = lookup_key[0]
    if uid == dispatcher._make_id(receiver):  # type: ignore[attr-defined]  # noqa: SLF001
        uid = None
    label = names.receiver_label(receiver, dispatch_uid=uid, **options)
    return WiredReceiver(
        structs.replace(label, any_sender=True) if any_sender else label,
        kept_by_debug=with_holders and weak and _kept_by_debug(receiver, label),
        unawaited=not entry[-1] and _returns_coroutine(receiver),
    )


def _kept_by_debug(receiver: object, label: ReceiverLabel) -> bool:
    """Return whether a lambda, closure or partial dies with DEBUG off.

    With DEBUG on, connect() looks at the signature through a cache that happens to hold it.
    """
    local = "<locals>" in label.name or "<lambda>" in label.name or label.name.endswith(")")
    if not local or isinstance(receiver, MethodType):
        return False
    holders = [held for held in gc.get_referrers(receiver) if not inspect.isframe(held)]
    return bool(holders) and all(
        type(held) is tuple
        and any(
            isinstance(owner, functools._lru_cache_wrapper)  # noqa: SLF001 - its only name.
            for owner in gc.get_referrers(held)
        )
        for held in holders
    )


def _returns_coroutine(receiver: object) -> bool:
    """Return whether a receiver that is sync to Django has async ``__call__``."""
    for _ in range(10):
        if type(receiver) is not functools.partial:
            break
        receiver = receiver.func
    if isinstance(receiver, FunctionType | MethodType | type):
        return False
    call = names._class_attribute(type(receiver), "__call__")  # noqa: SLF001 - no public name.
    return type(call) is FunctionType and inspect.iscoroutinefunction(call)


def _with_twins(heard: list[tuple[Any, WiredReceiver]]) -> list[WiredReceiver]:
    """Return the connections of a route with the twins among them marked."""
    connections: list[WiredReceiver] = []
    earlier: list[object] = []
    for entry, connection in heard:
        receiver = entry[1]() if connection.receiver.weak else entry[1]
        twin = next(
            (
                position
                for position, other in enumerate(earlier)
                if receiver is not None and other is not None and is_same_function(other, receiver)
            ),
            None,
        )
        earlier.append(receiver)
        if twin is not None:
            connection = replace(connection, duplicate_of=twin)  # noqa: PLW2901 - as this route sees it.
        connections.append(connection)
    return connections


# --- as JSON -------------------------------------------------------------------------------------


def as_dicts(routes: Iterable[Route], seen: dict[str, int] | None = None) -> list[dict[str, Any]]:
    """Return one JSON object per receiver of each route, in calling order.

    Args:
        routes: What ``read_wiring`` returned.
        seen: Calls by receiver name, as the store counted them; None if it was not asked.
    """
    return [
        {
            "signal": route.signal,
            "sender": None if route.sender == ANY else route.sender,
            "position": position,
            "receiver": connection.receiver.name,
            "file": connection.receiver.file,
            "line": connection.receiver.line,
            "app": connection.receiver.app,
            "dispatch_uid": connection.receiver.dispatch_uid or None,
            "weak": connection.receiver.weak,
            "async": connection.receiver.is_async,
            "any_sender": connection.receiver.any_sender,
            "alive": connection.alive,
            "calls": None if seen is None else seen.get(connection.receiver.name, 0),
            "own_send": route.own_send or None,
        }
        for route in routes
        for position, connection in enumerate(route.connections)
    ]


def describe(connection: WiredReceiver) -> str:
    """Return a receiver as one line of a wiring file."""
    label = connection.receiver
    parts = [label.name]
    if label.dispatch_uid:
        parts.append(f"uid={label.dispatch_uid}")
    parts += [
        word
        for word, said in (
            ("strong", not label.weak),
            ("async", label.is_async),
            ("any sender", label.any_sender),
            ("dead", not connection.alive),
        )
        if said
    ]
    return f"{parts[0]} [{', '.join(parts[1:])}]" if len(parts) > 1 else parts[0]


def to_file(routes: Iterable[Route]) -> dict[str, Any]:
    """Return the JSON document of ``wiring --write``.

    It holds no file, line or path, so that it changes only when the wiring does.
    """
    signals: dict[str, dict[str, list[str]]] = {}
    for route in routes:
        lines = signals.setdefault(route.signal, {}).setdefault(route.sender, [])
        # Signals that no module names share one heading.
        lines += [describe(connection) for connection in route.connections]
    return {"version": FILE_VERSION, "signals": signals}


# --- comparison ----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class WiringChange:
    """A difference between one route and a wiring file."""

    kind: str
    """added, lost, changed or reordered."""
    signal: str
    sender: str
    receiver: str
    """As ``describe`` words it."""
    was: str = ""
    """What it was before, if it changed; its place before, if it was reordered."""


def compare_wiring(document: object, routes: Iterable[Route]) -> list[WiringChange]:
    """Return the changes of *routes* since the document of ``--write``.

    Raises:
        ValueError: The document is not one of those.
    """
    if not isinstance(document, dict) or document.get("version") != FILE_VERSION:
        raise ValueError("it is not a wiring file of this version; write it anew with --write")
    signals = document.get("signals")
    if not isinstance(signals, dict) or not all(
        isinstance(by_sender, dict) for by_sender in signals.values()
    ):
        raise ValueError("its 'signals' is not an object of objects")
    now = to_file(routes)["signals"]
    changes: list[WiringChange] = []
    for signal in sorted({*signals, *now}):
        before, after = signals.get(signal, {}), now.get(signal, {})
        for sender in sorted({*before, *after}, key=lambda name: (name != ANY, name)):
            old = before.get(sender)
            new = after.get(sender)
            # A sender without a route of its own reaches those who hear any sender.
            old = before.get(ANY, []) if old is None else old
            new = after.get(ANY, []) if new is None else new
            changes.extend(_route_changes(signal, sender, list(map(str, old)), new))
    return _once(changes)


def _route_changes(
    signal: str, sender: str, old: list[str], new: list[str]
) -> Iterator[WiringChange]:
    gone = [line for line in old if line not in new]
    come = [line for line in new if line not in old]
    by_name = {_name(line): line for line in gone}
    for line in come:
        was = by_name.pop(_name(line), None)
        if was is None:
            yield WiringChange("added", signal, sender, line)
        else:
            gone.remove(was)
            yield WiringChange("changed", signal, sender, line, was)
    for line in gone:
        yield WiringChange("lost", signal, sender, line)
    kept_old = [line for line in old if line in new]
    kept_new = [line for line in new if line in old]
    if kept_old == kept_new:
        return
    matcher = SequenceMatcher(None, kept_old, kept_new, autojunk=False)
    for tag, start, end, _, _ in matcher.get_opcodes():
        if tag in {"delete", "replace"}:
            for line in kept_old[start:end]:
                where = f"{kept_old.index(line) + 1} of {len(kept_old)}"
                yield WiringChange("reordered", signal, sender, line, where)


def _name(line: str) -> str:
    return line.partition(" [")[0]


def _once(changes: list[WiringChange]) -> list[WiringChange]:
    """Return *changes* without those that any sender already has."""
    general = {
        (change.kind, change.signal, change.receiver) for change in changes if change.sender == ANY
    }

    def is_new(change: WiringChange) -> bool:
        return (change.kind, change.signal, change.receiver) not in general

    return [change for change in changes if change.sender == ANY or is_new(change)]


SIGNS: Final = {"added": "+", "lost": "-", "changed": "~", "reordered": "↕"}


def change_lines(changes: Iterable[WiringChange]) -> Iterator[str]:
    """Yield a readable diff: headings of routes, signed lines of changes."""
    heading = ""
    for change in changes:
        of = "any sender" if change.sender == ANY else change.sender
        if (new := f"{change.signal} from {of}") != heading:
            heading = new
            yield heading
        text = f"  {SIGNS[change.kind]} {change.kind}: {change.receiver}"
        if change.was:
            text += f" (was {change.was})"
        yield text


# --- filters -------------------------------------------------------------------------------------


def unseen(routes: Iterable[Route], seen: dict[str, int]) -> list[Route]:
    """Return the routes with the receivers that the store never saw called."""
    found = []
    for route in routes:
        left = [
            connection
            for connection in route.connections
            if not seen.get(connection.receiver.name) and connection.alive
        ]
        if left:
            found.append(Route(route.signal, route.sender, left))
    return found


def matching(
    routes: Iterable[Route],
    *,
    signal: str = "",
    sender: str = "",
    receiver: str = "",
    app: str = "",
) -> list[Route]:
    """Return the routes whose signal and sender contain these texts.

    Args:
        routes: What to choose from.
        signal: Part of the signal's dotted path.
        sender: Part of the sender's label.
        receiver: Part of the receiver's name or file.
        app: Label of the application that defines the receiver.
    """
    found = []
    for route in routes:
        if signal not in route.signal or sender.lower() not in route.sender.lower():
            continue
        chosen = [
            connection
            for connection in route.connections
            if (receiver in connection.receiver.name or receiver in connection.receiver.file)
            and (not app or connection.receiver.app == app)
        ]
        if chosen:
            found.append(Route(route.signal, route.sender, chosen))
    return found


def where(connection: WiredReceiver) -> str:
    """Return the place of a receiver, relative to the project, or nothing."""
    return place(connection.receiver.file, connection.receiver.line)
