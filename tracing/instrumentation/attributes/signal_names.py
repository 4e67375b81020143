"""Names of signals: the dotted paths under which modules hold them.

A signal does not know its name, so the modules are searched: some milliseconds. One search names all
signals that it finds. What is in no module, such as a signal made for each object, is not searched for
again until the modules have changed, and never for more than a small share of the time.
"""

from __future__ import annotations

import sys
import types
from typing import TYPE_CHECKING, Any, Final

from django.db.models import signals as model_signals
from django.dispatch import Signal

from tracing.clocks import perf_counter as clock
from tracing.instrumentation.attributes.names import (
    MAX_NAME,
    IdentityMemory,
    dotted,
    held_by_modules,
)
from tracing.instrumentation.process import process_lock

if TYPE_CHECKING:
    from collections.abc import Callable

GONE: Final = "django.dispatch.Signal (gone)"
"""Name of a signal that was gone before it was named."""


def signal_name(signal: Signal) -> str:
    """Return the dotted path under which *signal* can be imported.

    A signal that no module holds is named after its class, as ``django.dispatch.Signal (unnamed)``.
    The first answer searches the loaded modules (some milliseconds): call it off the traced thread.
    """
    return find_signal_name(signal)[0]


def find_signal_name(signal: Signal) -> tuple[str, bool]:
    """Return the same, and whether it stays so."""
    name = _names.get(signal)
    if name is None and _search.is_due():
        _find()
        name = _names.get(signal)
    if name is not None:
        return name, True
    return f"{_public_class(type(signal))} (unnamed)"[:MAX_NAME], False


def known_signals(*, anew: bool = True) -> list[Signal]:
    """Return the signals that modules hold, mostly without a search.

    What was put into a class since the last search is not found.

    Args:
        anew: Search where modules hold other things than at the last search; else only if there was none.
    """
    if not _search.was_made or (anew and _search.is_changed()):
        _find()
    found = [reference() for reference, _name in _names.values()]
    return [signal for signal in found if signal is not None]


def _find() -> None:
    for found, path in _search.run().values():
        _names.put(found, path[:MAX_NAME])


def is_path(name: str) -> bool:
    """Return whether *name* is of one signal alone: many are unnamed or gone."""
    return name != GONE and not name.endswith("(unnamed)")


def signal_named(name: str) -> Signal | None:
    """Return the living signal of that name; None if no module holds it."""
    if not is_path(name):
        return None
    for reference, known in _names.values():
        if known == name:
            return reference()
    return None


def _public_class(cls: type) -> str:
    return "django.dispatch.Signal" if cls is Signal else dotted(cls)


def _preference(path: str) -> tuple[bool, bool, int, str]:
    """Order the paths of a signal: where it is defined comes first.

    Django imports nobody's signals; others define theirs in a module of that name, most often.
    """
    module = path.rpartition(".")[0]
    return (
        not path.startswith("django."),
        module.rpartition(".")[2] != "signals",
        path.count("."),
        path,
    )


def _find_all() -> dict[int, tuple[Signal, str]]:
    """Return (signal, best dotted path) of all signals in loaded modules."""
    found: dict[int, tuple[Signal, str]] = {}
    for path, value in held_by_modules(Signal):
        known = found.get(id(value))
        if known is None or _preference(path) < _preference(known[1]):
            found[id(value)] = (value, path)
    return found


class Allowance:
    """An allowance: a few times at once, then for a share of the time.

    Args:
        burst: Times that are free after a rest.
        share: One of so many seconds may be spent.
    """

    __slots__ = ("_burst", "_clock", "_cost", "_left", "_share", "_since")

    def __init__(self, burst: int, share: int, now: Callable[[], float] = clock) -> None:
        self._burst = self._left = float(burst)
        self._share = share
        self._clock = now
        self._cost = 0.0
        self._since = now()

    def has_room(self) -> bool:
        """Return whether it may be done now."""
        now = self._clock()
        if self._cost:
            self._left += (now - self._since) / (self._cost * self._share)
        self._left = min(self._left, self._burst)
        self._since = now
        return self._left >= 1

    def take(self, seconds: float) -> None:
        """Note that it was done and took *seconds*."""
        self._left -= 1
        self._cost = seconds


class Search:
    """A search through loaded modules, when it may find something new."""

    __slots__ = ("_extent", "_lock", "_looks", "_places", "_rest", "_searches")

    def __init__(self) -> None:
        self._lock = process_lock()
        self._searches = Allowance(20, 20)
        self._looks = Allowance(300, 20)
        self._rest = Allowance(1, 50)
        self._extent = (0, 0)
        """Modules and names in them at the last search."""
        self._places: list[tuple[dict[str, Any], str, int]] = []
        """(names of a module, name, identity) of the signals that modules held then."""

    def is_due(self) -> bool:
        """Return whether modules hold other things than at the last search."""
        if not self._searches.has_room():
            return False
        if self._rest.has_room():
            return (
                True  # What was put into a class or in the place of something else does not show.
            )
        if not self._looks.has_room():
            return False
        begun = clock()
        changed = self.is_changed()
        self._looks.take(clock() - begun)
        return changed

    @property
    def was_made(self) -> bool:
        """Return whether there was a search."""
        return self._extent != (0, 0)

    def is_changed(self) -> bool:
        """Return whether modules visibly hold other things."""
        return self._extent != _extent() or any(
            id(held.get(name)) != identity for held, name, identity in self._places
        )

    def run(self) -> dict[int, tuple[Signal, str]]:
        """Return (signal, dotted path) of all signals that are found, by identity."""
        if not self._lock.acquire(blocking=False):
            return {}  # Another thread is at it, or a finaliser that runs inside this very search.
        try:
            begun = clock()
            self._extent = _extent()
            found = _find_all()
            self._places = [
                (module.__dict__, name, id(module.__dict__.get(name)))
                for _signal, path in found.values()
                for module_name, _dot, name in [path.rpartition(".")]
                if type(module := sys.modules.get(module_name)) is types.ModuleType
            ]
            took = clock() - begun
            self._searches.take(took)
            self._rest.take(took)
            return found
        finally:
            self._lock.release()


def _extent() -> tuple[int, int]:
    """Return the number of loaded modules and of the names in them."""
    modules = [module for module in list(sys.modules.values()) if type(module) is types.ModuleType]
    return len(modules), sum(len(module.__dict__) for module in modules)


_names: Final[IdentityMemory[str]] = IdentityMemory()
_search: Final = Search()
# Known without a search: a write past the receivers asks for them on the traced thread.
for _name, _signal in vars(model_signals).items():
    if issubclass(type(_signal), Signal):
        _names.put(_signal, f"{model_signals.__name__}.{_name}")
