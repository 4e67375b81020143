"""Methods of signals that somebody replaced, on one or on their class."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

from django.db.models.signals import ModelSignal
from django.dispatch import Signal

from tracing.instrumentation.attributes import names
from tracing.instrumentation.attributes.signal_names import signal_name
from tracing.instrumentation.connections import registry
from tracing.instrumentation.patching import is_instrumented
from tracing.testing.leftovers import REPLACED, Leftover

if TYPE_CHECKING:
    from collections.abc import Iterable

_NAMES: Final = frozenset({"send", "send_robust", "asend", "asend_robust", "_live_receivers"})
_CLASSES: Final = (Signal, ModelSignal)
_ABSENT: Final = object()
"""In the place of what is inherited and not defined there."""


@dataclass(frozen=True, slots=True)
class Replacement:
    """A method that is another one than before."""

    owner: Any
    """A signal, or a class of signals."""
    name: str
    before: Any
    after: Any

    @property
    def found(self) -> Leftover:
        """Return what is said of it."""
        is_class = self.owner in _CLASSES
        owner = names.dotted(self.owner) if is_class else signal_name(self.owner)
        return Leftover(REPLACED, owner, "None", self.name)

    @property
    def undone(self) -> Replacement:
        """Return the opposite."""
        return replace(self, before=self.after, after=self.before)

    def put_back(self) -> None:
        """Put there what was there before."""
        if self.before is _ABSENT:
            delattr(self.owner, self.name)
        else:
            setattr(self.owner, self.name, self.before)


class Methods:
    """The methods through which signals are sent, as they are at one moment."""

    def __init__(self) -> None:
        self._is_instrumented = is_instrumented()
        owners = (*_CLASSES, *registry.remembered_signals())
        self._held: dict[int, tuple[Any, dict[str, Any]]] = {
            id(owner): (owner, _own(owner)) for owner in owners
        }

    def replaced(self) -> list[Replacement]:
        """Return which are others by now."""
        # The tracer replaces those of the classes, and puts them back.
        is_the_tracer = is_instrumented() is not self._is_instrumented
        found = []
        for owner, before in self._held.values():
            after = _own(owner)
            if not (before or after) or (is_the_tracer and owner in _CLASSES):
                continue
            for name in sorted(before.keys() | after.keys()):
                was, now = before.get(name, _ABSENT), after.get(name, _ABSENT)
                if was is not now:
                    found.append(Replacement(owner, name, was, now))
        return found

    def apply(self, replacements: Iterable[Replacement]) -> None:
        """Expect *replacements* to be there."""
        for each in replacements:
            _owner, held = self._held.setdefault(id(each.owner), (each.owner, {}))
            if each.after is _ABSENT:
                held.pop(each.name, None)
            else:
                held[each.name] = each.after


def _own(owner: Any) -> dict[str, Any]:
    """Return the methods that *owner* has itself: a signal mostly none."""
    held = owner.__dict__
    return {name: held[name] for name in _NAMES & held.keys()}
