"""Which receivers a dispatch has: as Django resolves them, or whoever stands in its place."""

from __future__ import annotations

from types import MethodType
from typing import Any, Final

from django.dispatch import Signal, dispatcher

from tracing.instrumentation.connections.neighbours import (
    STOCK_LIVE_RECEIVERS,
    own_wiring,
    represent,
    stands_for,
)
from tracing.instrumentation.connections.receivers import (
    UNFINISHED,
    PlainWiring,
    ResolvedWiring,
    Wiring,
    cached_wiring,
    plain_wiring,
)
from tracing.instrumentation.dispatch.orphans import Unheard
from tracing.instrumentation.failures import failed

NO_RECEIVERS: Final = dispatcher.NO_RECEIVERS

Resolved = tuple[Wiring | PlainWiring | ResolvedWiring | None, list[Any], list[Any]]


def is_overridden(signal: Signal) -> bool:
    """Return whether somebody else decides which receivers *signal* has: a subclass or a patch."""
    resolving = signal._live_receivers
    return type(resolving) is not MethodType or resolving.__func__ is not STOCK_LIVE_RECEIVERS


def resolve(signal: Signal, sender: Any) -> Resolved:
    """Return (wiring, live sync receivers, live async receivers), as ``_live_receivers`` would."""
    wiring: Any
    if signal.use_caching:
        wiring = None if signal._dead_receivers else signal.sender_receivers_cache.get(sender)  # type: ignore[attr-defined]
        if is_unheard(wiring):
            return None, [], []
        if type(wiring) is not Wiring or wiring.derefs is UNFINISHED:
            wiring = cached_wiring(signal, sender)
            if wiring is None:
                return None, [], []
    else:
        wiring = signal.sender_receivers_cache.get(-id(sender))
        if (
            type(wiring) is not PlainWiring
            or signal._dead_receivers  # type: ignore[attr-defined]
            or wiring.sender() is not sender
            or wiring.connections != signal.receivers
        ):
            return plain_wiring(signal, sender)
    live = [deref() for deref in wiring.derefs]
    live_async = [deref() for deref in wiring.async_derefs]
    for receiver in live:
        if receiver is None:
            return resolve_live(signal, sender)
    for receiver in live_async:
        if receiver is None:
            return resolve_live(signal, sender)
    return wiring, live, live_async


def is_unheard(cached: Any) -> bool:
    """Return whether Django's cache says of a sender that nobody listens to it."""
    return cached is NO_RECEIVERS or type(cached) is Unheard


def resolve_live(signal: Signal, sender: Any) -> Resolved:
    """Return the same from the signal's own ``_live_receivers``, whoever wrote it."""
    live, live_async = signal._live_receivers(sender)
    return labelled(signal, sender, live, live_async), live, live_async


def labelled(
    signal: Signal, sender: Any, live: list[Any], live_async: list[Any]
) -> PlainWiring | ResolvedWiring | None:
    """Return the wiring of receivers that somebody else resolved; None if it cannot be had.

    That of the receivers that are connected, if it is these that were handed out, wrapped or not.
    """
    try:
        own = own_wiring(signal, sender)
        if (
            own is not None
            and represent(live, own.derefs)
            and represent(live_async, own.async_derefs)
        ):
            return own
        return ResolvedWiring(signal, sender, live, live_async, own, stands_for)
    except Exception as error:
        failed("labelled", error)
        return None
