"""This process: what it has connected, and what it did before."""

from __future__ import annotations

import sys
import types
from typing import TYPE_CHECKING, Any, Final

from django.apps import apps
from django.dispatch import Signal

from tracing.analysis.process_kinds import kind_of_process
from tracing.analysis.senders import Senders
from tracing.analysis.why_not.relations import class_called
from tracing.analysis.wiring import all_signals
from tracing.instrumentation.attributes import names
from tracing.instrumentation.attributes.callsites import is_foreign
from tracing.instrumentation.attributes.signal_names import signal_name
from tracing.instrumentation.buffer import HOST
from tracing.instrumentation.connections import changes, journal, registry
from tracing.instrumentation.process import identity
from tracing.instrumentation.sampling import left_out
from tracing.spans.processes import CONNECTED, Connected, ProcessWiring

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

MOST_MODULES: Final = 5_000
"""Modules of the project that are listed."""


def this_process(signals: Iterable[Signal] | None = None) -> ProcessWiring:
    """Return what this process has connected, some milliseconds' work.

    What was connected while it started and still stands is told among the connections alone.

    Args:
        signals: All there are, where somebody has them already.
    """
    changes.note_cleared()
    connections = list(_connections(all_signals() if signals is None else signals))
    standing = {(each.signal, each.sender, each.at_ns) for each in connections}
    events = [
        event
        for event in journal.events()
        if event.change != CONNECTED
        or event.at_ns >= journal.journal.ready_ns
        or (event.signal, event.sender, event.at_ns) not in standing
    ]
    return ProcessWiring(
        host=HOST,
        process=identity.pid,
        started_ns=journal.journal.began_ns,
        kind=kind_of_process(),
        release=identity.release[:100],
        connections=connections,
        events=events,
        waiting=journal.waiting(),
        modules=_modules(),
        apps={config.name: names.dotted(type(config)) for config in apps.get_app_configs()},
        left_out=dict(left_out),
        forgotten_count=journal.journal.lost,
    )


def version() -> tuple[int, int, int]:
    """Return what differs when ``this_process()`` would."""
    return journal.journal.version, len(sys.modules), left_out.total()


def _modules() -> list[str]:
    found = []
    for name, module in list(sys.modules.items()):
        if type(module) is not types.ModuleType:
            continue
        path = module.__dict__.get("__file__")
        if type(path) is str and not is_foreign(path):
            found.append("__main__" if name == "__main__" else name)
    return found[:MOST_MODULES]


def _connections(signals: Iterable[Signal]) -> Iterator[Connected]:
    senders = Senders()
    for signal in signals:
        entries = registry.entries_of(signal)
        if not entries:
            continue
        name = signal_name(signal)
        known = registry.connections_of(signal)
        is_replaced = _is_replaced(signal, name)
        cached = _cached(signal)
        for entry in entries:
            found = _connected(entry, known, senders)
            found.signal, found.is_replaced = name, is_replaced
            found.is_sender_replaced = _is_sender_replaced(entry, found.sender)
            found.is_stale = _is_stale(entry, cached)
            yield found


def _connected(entry: Any, known: registry.Connections, senders: Senders) -> Connected:
    connection = known.find(entry[0])
    any_sender = entry[0][1] == registry.dispatcher.NONE_ID
    receiver = registry.receiver_of(entry)
    if connection is not None:
        label, sender = connection.label, connection.sender
    else:
        label = (
            registry.entry_label(entry, receiver)
            if receiver is not None
            else names.receiver_label(None, any_sender=any_sender)
        )
        sender = "None" if any_sender else senders.name(entry[0][1], [entry])
    return Connected(
        signal="",
        sender=sender,
        receiver=label,
        at_ns=connection.at_ns if connection is not None else 0,
        file=connection.file if connection is not None else "",
        line=connection.line if connection is not None else 0,
        is_late=connection is not None and connection.is_late,
        is_alive=receiver is not None,
    )


def _is_replaced(signal: Signal, name: str) -> bool:
    """Return whether another signal stands under the name of *signal* by now."""
    module, _, attribute = name.rpartition(".")
    held = sys.modules.get(module)
    other = vars(held).get(attribute) if type(held) is types.ModuleType else None
    return other is not signal and issubclass(type(other), Signal)


def _is_sender_replaced(entry: Any, sender: str) -> bool:
    """Return whether another class stands under the name of a sender by now."""
    other = class_called(sender)
    return other is not None and id(other) != entry[0][1]


def _cached(signal: Signal) -> list[tuple[Any, Any]]:
    """Return (key of the sender, receivers) of what a signal has cached."""
    if not signal.use_caching:
        return []
    try:
        found = list(signal.sender_receivers_cache.items())
    except Exception:  # noqa: BLE001 - another thread may be at it, or it is no cache of Django's.
        return []
    return [(registry.dispatcher._make_id(sender), receivers) for sender, receivers in found]  # noqa: SLF001


def _is_stale(entry: Any, cached: list[tuple[Any, Any]]) -> bool:
    """Return whether the cache has a sender without *entry*, which hears it."""
    wanted = entry[0][1]
    for sender, receivers in cached:
        if wanted not in {registry.dispatcher.NONE_ID, sender}:
            continue
        items = receivers if isinstance(receivers, list) else ()
        if not any(type(item) is tuple and item and item[0] is entry[1] for item in items):
            return True
    return False
