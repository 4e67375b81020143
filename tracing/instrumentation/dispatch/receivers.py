"""The receivers of a dispatch, as Django or its stand-in resolves them."""

from __future__ import annotations

from types import MethodType
from typing import Any, Final

from django.dispatch import Signal, dispatcher

from tracing.instrumentation.connections.neighbours import (
    STOCK_LIVE_RECEIVERS,
    own_receivers,
    represent,
    stands_for,
)
from tracing.instrumentation.connections.receivers import (
    UNFINISHED,
    CachedReceivers,
    ResolvedReceivers,
    UncachedReceivers,
    cached_receivers,
    is_stock,
    uncached_receivers,
)
from tracing.instrumentation.dispatch.orphans import Orphan
from tracing.instrumentation.failures import failed, pass_on

NO_RECEIVERS: Final = dispatcher.NO_RECEIVERS

Resolved = tuple[
    CachedReceivers | UncachedReceivers | ResolvedReceivers | None, list[Any], list[Any]
]

UNRESOLVED: Final[tuple[None, list[Any], None]] = (None, [], None)


def is_overridden(signal: Signal) -> bool:
    """Return whether a subclass or a patch decides who receives *signal*."""
    resolving = signal._live_receivers
    return type(resolving) is not MethodType or resolving.__func__ is not STOCK_LIVE_RECEIVERS


def resolved(signal: Signal, sender: Any) -> Resolved | tuple[None, list[Any], None]:
    """Return what ``resolve`` does, if Django's own method would as well.

    No async ones where somebody else decides, or where it fails: the signal's own method is to be asked.
    """
    if is_overridden(signal):
        return UNRESOLVED
    try:
        return resolve(signal, sender)
    except Exception as error:
        pass_on(error)
        return UNRESOLVED


def resolve(signal: Signal, sender: Any) -> Resolved:
    """Return (cached, live sync, live async), as ``_live_receivers`` would."""
    cached: Any
    if signal.use_caching:
        cached = None if signal._dead_receivers else signal.sender_receivers_cache.get(sender)  # type: ignore[attr-defined]
        if is_orphan(cached):
            return None, [], []
        if type(cached) is not CachedReceivers or cached.derefs is UNFINISHED:
            if (
                cached is not None
                and type(cached) is not CachedReceivers
                and not is_stock(cached, signal, sender)
            ):
                return resolve_live(signal, sender)
            cached = cached_receivers(signal, sender)
            if cached is None:
                return None, [], []
    else:
        if signal.sender_receivers_cache.get(sender) is NO_RECEIVERS:
            return None, [], []
        cached = signal.sender_receivers_cache.get(-id(sender))
        if (
            type(cached) is not UncachedReceivers
            or signal._dead_receivers  # type: ignore[attr-defined]
            or cached.sender() is not sender
            or cached.connections != signal.receivers
        ):
            return uncached_receivers(signal, sender)
    live = [deref() for deref in cached.derefs]
    live_async = [deref() for deref in cached.async_derefs]
    for receiver in live:
        if receiver is None:
            return resolve_live(signal, sender)
    for receiver in live_async:
        if receiver is None:
            return resolve_live(signal, sender)
    return cached, live, live_async


def is_orphan(cached: Any) -> bool:
    """Return whether Django's cache says that nobody hears a sender."""
    return cached is NO_RECEIVERS or type(cached) is Orphan


def resolve_live(signal: Signal, sender: Any) -> Resolved:
    """Return the same from the signal's own ``_live_receivers``."""
    live, live_async = signal._live_receivers(sender)
    return labelled(signal, sender, live, live_async), live, live_async


def labelled(
    signal: Signal, sender: Any, live: list[Any], live_async: list[Any]
) -> UncachedReceivers | ResolvedReceivers | None:
    """Return receivers that somebody else resolved, or None.

    That of the receivers that are connected, if it is these that were handed out, wrapped or not.
    """
    try:
        own = own_receivers(signal, sender)
        if (
            own is not None
            and represent(live, own.derefs)
            and represent(live_async, own.async_derefs)
        ):
            return own
        return ResolvedReceivers(signal, sender, live, live_async, own, stands_for)
    except Exception as error:
        try:
            failed("labelled", error)
        except RecursionError:
            pass  # The end of the stack is the application's to meet.
        return None
